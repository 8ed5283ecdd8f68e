"use strict";

const byId = (id) => document.getElementById(id);

function startClock() {
  const clock = byId("clock");
  const state = byId("clock-state");
  state.textContent = "Connecting…";
  const source = new EventSource("/events");
  source.addEventListener("tick", (event) => {
    clock.dateTime = event.data;
    clock.textContent = new Date(event.data).toLocaleTimeString();
    state.textContent = "Live";
    state.classList.add("live");
  });
  source.addEventListener("error", () => {
    state.textContent = "Interrupted; the browser connects again by itself";
    state.classList.remove("live");
  });
}

function startEcho() {
  const form = byId("echo-form");
  const text = byId("echo-text");
  const send = byId("echo-send");
  const state = byId("echo-state");
  const log = byId("echo-log");
  let socket = null;

  function say(kind, message) {
    const line = document.createElement("li");
    line.className = kind;
    line.textContent = message;
    log.append(line);
    while (log.children.length > 6) log.firstChild.remove();
  }

  function show(open, message) {
    state.textContent = message;
    state.classList.toggle("live", open);
    text.disabled = send.disabled = false;
    send.textContent = open ? "Send" : "Connect";
  }

  function connect() {
    state.textContent = "Connecting…";
    socket = new WebSocket(location.origin.replace(/^http/, "ws") + "/echo");
    socket.addEventListener("open", () => show(true, "Live"));
    socket.addEventListener("close", () => show(false, "Closed"));
    socket.addEventListener("message", (event) => say("back", event.data));
  }

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (socket.readyState !== WebSocket.OPEN) {
      connect();
      return;
    }
    if (text.value === "") return;
    say("out", text.value);
    socket.send(text.value);
    text.value = "";
  });
  connect();
}

startClock();
startEcho();
