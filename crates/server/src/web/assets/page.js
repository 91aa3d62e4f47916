// Comforts of every page; all of it works without.
"use strict";

// A link with #token=… on the login page, so that the token is in no log and no history of a server.
const given = /^#token=(.+)$/.exec(location.hash);
const field = document.getElementById("token");
if (given && field) {
  document.getElementById("by-token").open = true;
  field.value = decodeURIComponent(given[1]);
  history.replaceState(null, "", location.pathname + location.search);
}
if (location.hash === "" && field && document.querySelector(".error") && field.value === "") {
  document.getElementById("password").value = "";
}

// The button of a restore waits for the target's name.
const typed = document.getElementById("typed");
if (typed) {
  const button = typed.form.querySelector("button[type=submit]");
  const check = () => { button.disabled = typed.value.trim() !== typed.dataset.expected; };
  typed.addEventListener("input", check);
  check();
}

// What takes a while says so, and is not sent twice.
for (const form of document.querySelectorAll("form[method=post]")) {
  form.addEventListener("submit", () => {
    if (form.action.endsWith("/export")) return;
    setTimeout(() => {
      for (const button of form.querySelectorAll("button[type=submit]")) button.disabled = true;
      form.classList.add("sent");
    });
  });
}

// The menu closes when something else is clicked, or with Escape.
const account = document.querySelector("details.account");
if (account) {
  document.addEventListener("click", (event) => { if (!account.contains(event.target)) account.open = false; });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && account.open) { account.open = false; account.querySelector("summary").focus(); }
  });
}
