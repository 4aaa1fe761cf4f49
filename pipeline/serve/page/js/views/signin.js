// The form for user and password.

import { field, h } from "../dom.js";
import { formLine } from "../status.js";

/** `why`: what to tell first, if anything. `done(me)` is called once the server has let the user in. */
export function signIn(api, why, done) {
  const user = h("input", { name: "user", autocomplete: "username", required: true, autocapitalize: "none", spellcheck: "false" });
  const password = h("input", { name: "password", type: "password", autocomplete: "current-password", required: true });
  const submit = h("button", { class: "main" }, "Sign in");
  const line = formLine();
  if (why) line.say(why);

  async function send(event) {
    event.preventDefault();
    submit.disabled = true;
    line.say("Signing in …");
    try {
      await api.login(user.value, password.value);
      done(await api.me());
    } catch (error) {
      line.fault(error);
      password.value = "";
      password.focus();
    } finally {
      submit.disabled = false;
    }
  }

  const form = h("form", { class: "card sign-in", on: { submit: send } },
    h("h1", {}, "Sign in"), field("User", user), field("Password", password), submit, line.element);
  requestAnimationFrame(() => user.focus());
  return form;
}
