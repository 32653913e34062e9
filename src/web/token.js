/**
 * What somebody shows to be let in: it lives as long as the tab, and no URL ever has it.
 * @module
 */

/** The token of this name. */
export const tokenOf = (key) => ({
  get: () => sessionStorage.getItem(key),
  set: (text) => sessionStorage.setItem(key, text),
  forget: () => sessionStorage.removeItem(key),
  /** A header takes nothing else, and the server neither. */
  fits: (text) => /^[\x21-\x7e]+$/.test(text),
});
