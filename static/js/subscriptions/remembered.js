// @ts-check
// The names under which this browser remembers something of the subscriptions.

/** Whether there are any subscriptions. */
export const FOLLOWS = "subscriptions"
/** The subscriptions whose rows are folded in the list. */
export const FOLDED = "subscriptions.folded"
/** The layout in the library of the last subscription that was made. */
export const LIBRARY = "subscriptions.library"
/** The order in which subscriptions are listed. */
export const SORT = "subscriptions.sort"
