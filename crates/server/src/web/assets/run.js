// The progress of a run that is going on, as server-sent events.
"use strict";

const live = document.getElementById("live");
if (live) {
  const step = document.getElementById("step");
  const bar = document.getElementById("bar");
  const counters = document.getElementById("counters");
  const told = document.getElementById("events");
  const source = new EventSource("/runs/" + encodeURIComponent(live.dataset.run) + "/events");
  const on = (name, act) => source.addEventListener(name, (event) => act(JSON.parse(event.data)));
  on("step", (data) => { step.textContent = data.name; bar.removeAttribute("value"); counters.textContent = ""; });
  on("progress", (data) => {
    if (data.share === null) bar.removeAttribute("value"); else bar.value = data.share;
    counters.textContent = data.text;
  });
  on("told", (data) => {
    const line = document.createElement("li");
    line.className = data.kind;
    const time = document.createElement("time");
    time.dateTime = data.time;
    time.textContent = data.clock;
    const text = document.createElement("span");
    text.textContent = data.text;
    line.append(time, " ", text);
    told.append(line);
  });
  on("ended", () => { source.close(); location.reload(); });
}
