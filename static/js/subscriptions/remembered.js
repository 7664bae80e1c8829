// @ts-check
// The names under which this browser remembers something of the subscriptions.

/** Whether there are any. */
export const FOLLOWS = "subscriptions"
/** Which have their rows folded in the list. */
export const FOLDED = "subscriptions.folded"
/** As what the last subscription goes into the library. */
export const LIBRARY = "subscriptions.library"
/** In which order they are listed. */
export const SORT = "subscriptions.sort"
