// What scripts improve: every page works without them.

// Times of events also in the reader's own zone, where it is another one.
for (const time of document.querySelectorAll("time[data-local]")) {
  const hint = time.parentElement.querySelector(".local");
  if (!hint) continue;
  const at = new Date(time.dataset.local);
  const own = new Intl.DateTimeFormat(document.documentElement.lang, { dateStyle: "medium", timeStyle: "short" }).format(at);
  const there = time.textContent.match(/\d{2}:\d{2}/)?.[0];
  const here = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" }).format(at);
  if (there && there !== here) {
    hint.textContent = `${hint.dataset.prefix} ${own}`;
    hint.hidden = false;
  }
}

// How long seats are held. The clock of the server counts: what its answer was dated by.
function countdown(clock, offset) {
  const until = new Date(clock.dataset.until).getTime();
  const tick = () => {
    const left = Math.floor((until - Date.now() - offset) / 1000);
    if (left < 0) {
      clock.textContent = clock.dataset.over;
      return;
    }
    const text = `${Math.floor(left / 60)}:${String(left % 60).padStart(2, "0")}`;
    clock.textContent = clock.dataset.words.replace("{0}", text);
    clock.classList.toggle("soon", left < 60);
    setTimeout(tick, 1000);
  };
  tick();
}

// What takes the place of a part of the page takes its focus, too: who uses the keyboard or a screen reader goes on where
// they were, or where the new part begins.
function swap(old, fresh) {
  const held = old.contains(document.activeElement) && document.activeElement;
  old.replaceWith(document.adoptNode(fresh));
  if (!held) return;
  const same = ["name", "href"].filter((key) => held.getAttribute(key))
    .map((key) => fresh.querySelector(`[${key}="${CSS.escape(held.getAttribute(key))}"]`)).find(Boolean);
  const place = same ?? fresh.querySelector("h1") ?? fresh;
  if (!same) place.tabIndex = -1;
  place.focus();
}

// An order that is about to change is looked at again, and shown as it is then.
async function follow(order) {
  let pause = 1500;
  for (;;) {
    await new Promise((done) => setTimeout(done, pause));
    if (document.hidden) continue;
    pause = Math.min(pause * 1.2, 10000);
    try {
      const answer = await fetch(location.pathname, { headers: { Accept: "text/html" } });
      if (!answer.ok) continue;
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const fresh = page.querySelector("[data-order]");
      if (!fresh || fresh.dataset.revision === order.dataset.revision) continue;
      swap(order, fresh);
      document.title = page.title;
      start(fresh);
      return;
    } catch {
      // The line is away; the next look may find it.
    }
  }
}

function start(root) {
  for (const clock of root.querySelectorAll("[data-until]")) countdown(clock, 0);
  const order = root.matches?.("[data-follow]") ? root : root.querySelector("[data-follow]");
  if (order) follow(order);
}

// A form is sent once, however often its button is pressed.
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.dataset.sent) {
    event.preventDefault();
    return;
  }
  if (form.method === "post") form.dataset.sent = "yes";
});
addEventListener("pageshow", () => {
  for (const form of document.forms) delete form.dataset.sent;
});

// A question that hangs on another one is there when that is answered so.
for (const form of document.querySelectorAll("form")) {
  const hanging = form.querySelectorAll("[data-if]");
  if (!hanging.length) continue;
  const look = () => {
    for (const question of hanging) {
      const given = [...form.querySelectorAll("input, select")].filter((f) => f.name === question.dataset.if && !f.disabled &&
        (f.type !== "checkbox" || f.checked)).map((f) => f.value);
      question.hidden = !question.dataset.is.split(" ").some((is) => given.includes(is));
      for (const field of question.querySelectorAll("input, select")) field.disabled = question.hidden;
    }
  };
  form.addEventListener("change", look);
  look();
}

// What changes by itself is looked at again every few seconds, while somebody looks. It has nothing to fill in.
async function refresh(part) {
  for (;;) {
    await new Promise((done) => setTimeout(done, part.dataset.live * 1000));
    if (document.hidden || part.contains(document.activeElement)) continue;
    try {
      const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
      if (!answer.ok || answer.redirected) continue;
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const fresh = page.getElementById(part.id);
      if (!fresh) return;
      document.adoptNode(fresh);
      await Promise.allSettled([...fresh.querySelectorAll("img")].map((picture) => picture.decode()));
      part.replaceChildren(...fresh.childNodes);
    } catch {
      // The line is away; the next look may find it.
    }
  }
}
for (const part of document.querySelectorAll("[data-live]")) refresh(part);

start(document);

// Sharing as the device does it, and copying a link.
for (const button of document.querySelectorAll("[data-share]")) {
  if (!navigator.share) continue;
  button.hidden = false;
  button.addEventListener("click", () => {
    navigator.share({ title: button.dataset.title, url: button.dataset.share }).catch(() => {}); // thought better of it
  });
}
for (const button of document.querySelectorAll("[data-copy]")) {
  if (!navigator.clipboard) continue;
  button.hidden = false;
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).value);
    button.textContent = button.dataset.copied;
  });
}
