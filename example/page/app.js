// The session lives in a cookie that no script can read. Every answer to a safe request hands out the
// session's CSRF token; an unsafe request shows it.
"use strict";
let csrf = "";

async function call(method, path, body) {
  const headers = {};
  if (body) headers["Content-Type"] = "application/json";
  if (method !== "GET" && csrf) headers["X-CSRF-Token"] = csrf;
  const res = await fetch(path, { method, headers, body: body && JSON.stringify(body) });
  csrf = res.headers.get("X-CSRF-Token") || csrf;
  let text = await res.text();
  if (path === "login" && res.ok) text = "logged in"; // the token in the body is for programs
  document.querySelector("#answer").textContent = res.status + " " + text;
}

document.querySelector("#login").addEventListener("submit", (e) => {
  e.preventDefault();
  call("POST", "login", Object.fromEntries(new FormData(e.target)));
});
document.querySelector("#buttons").addEventListener("click", (e) => {
  const { get, post } = e.target.dataset;
  if (get) call("GET", get);
  if (post) call("POST", post);
});
