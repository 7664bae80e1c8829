// @ts-check
// The names under which this browser remembers something of the subscriptions.

/** Whether there are any. */
export const FOLLOWS = "subscriptions"
/** As what the last subscription goes into the library. */
export const LIBRARY = "subscriptions.library"
/** In which order they are listed. */
export const SORT = "subscriptions.sort"
