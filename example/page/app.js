// Both tokens live in cookies that no script can read, and the server refreshes them by itself. All that the page
// keeps is the session's CSRF token: answers hand it out, and an unsafe request shows it.
"use strict";
let csrf = "";

async function send(method, path, body) {
  const headers = {};
  if (body) headers["Content-Type"] = "application/json";
  if (method !== "GET" && csrf) headers["X-CSRF-Token"] = csrf;
  const res = await fetch(path, { method, headers, body: body && JSON.stringify(body) });
  csrf = res.headers.get("X-CSRF-Token") || csrf;
  return res;
}

async function call(method, path, body) {
  const res = await send(method, path, body), text = await res.text();
  const answer = text.startsWith("{") ? JSON.parse(text) : {};
  if (answer.code === "second_factor_required") document.querySelector("#code").hidden = false;
  document.querySelector("#factor").innerHTML = answer.svg || ""; // made by the server, of its own text alone
  delete answer.svg;
  document.querySelector("#answer").textContent = res.status + " " + (text && JSON.stringify(answer, null, 1));
  await list();
}

// list shows the sessions. What stands in one came from a browser, so that it is only ever put in as text.
async function list() {
  const res = await send("GET", "auth/sessions");
  const sessions = res.ok ? (await res.json()).sessions : [];
  document.querySelector("#sessions").replaceChildren(...sessions.map((s) => {
    const item = document.createElement("li"), end = document.createElement("button");
    item.textContent = s.device + ", " + s.address + ", last used " + new Date(s.last_used).toLocaleString() + (s.current ? " (this one) " : " ");
    end.textContent = "End";
    end.dataset.call = "DELETE auth/sessions/" + s.id;
    item.append(end);
    return item;
  }));
}

document.querySelector("#login").addEventListener("submit", (e) => {
  e.preventDefault();
  call("POST", "auth/login", Object.fromEntries(new FormData(e.target)));
});
for (const form of document.querySelectorAll("form[data-post]")) {
  form.addEventListener("submit", (e) => {
    e.preventDefault();
    const data = new FormData(form), body = Object.fromEntries(data);
    if (data.has("scopes")) body.scopes = data.getAll("scopes");
    call("POST", form.dataset.post, body);
  });
}
document.addEventListener("click", (e) => {
  if (e.target.dataset.call) call(...e.target.dataset.call.split(" "));
});
list();
