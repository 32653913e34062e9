/**
 * Asks who is there, once the server wants to know.
 * @module
 */
import { tokenOf } from './token.js';

const token = tokenOf('highwater-token');

/** The form, and the token that was shown in it. */
export class SignIn {
  #form;
  #field;
  #error;

  /**
   * @param {HTMLFormElement} form
   * @param {() => void} given a token is there
   */
  constructor(form, given) {
    this.#form = form;
    this.#field = form.querySelector('input');
    this.#error = form.querySelector('.error');
    form.onsubmit = (event) => {
      event.preventDefault();
      const text = this.#field.value.trim();
      if (!token.fits(text)) return this.#show('A token is of letters, digits and signs, without blanks.');
      token.set(text);
      this.#field.value = '';
      form.hidden = true;
      return given();
    };
  }

  /** Whether it is on the page: nothing is begun meanwhile. */
  get asks() {
    return !this.#form.hidden;
  }

  /** What a session is made with. */
  authorization = () => (token.get() ? `Bearer ${token.get()}` : null);

  /** The server has refused `sent`. `false` where another token was given since: then it is for that one to be tried. */
  refused(sent) {
    if (sent !== this.authorization()) return false;
    if (this.asks) return true;
    token.forget();
    this.#show(sent ? 'The server does not take this token, or not any more.' : '');
    return true;
  }

  #show(error) {
    this.#form.hidden = false;
    this.#field.setAttribute('aria-invalid', String(error !== ''));
    this.#error.textContent = error;
    this.#field.focus();
  }
}
