// A door that never stops: codes are sent without leaving the page, by keyboard, hand scanner or camera.
const form = document.querySelector("[data-scan]");
const code = form.elements.code;
let sound;

function tell(good) {
  navigator.vibrate?.(good ? 80 : [120, 80, 120]);
  try {
    sound ??= new AudioContext();
    const tone = sound.createOscillator();
    tone.frequency.value = good ? 880 : 220;
    tone.connect(sound.destination);
    tone.start();
    tone.stop(sound.currentTime + (good ? 0.12 : 0.4));
  } catch {
    // A device without sound still shows the answer.
  }
}

function show(page) {
  const fresh = page?.querySelector("#result .answer");
  const place = document.querySelector("#result");
  if (fresh) {
    place.replaceChildren(document.adoptNode(fresh));
  } else { // no answer came: nothing was decided
    const answer = document.createElement("div");
    answer.className = "answer bad";
    const word = document.createElement("p");
    word.className = "word";
    word.textContent = form.dataset.failed;
    answer.append(word);
    place.replaceChildren(answer);
  }
  const strip = page?.querySelector(".strip"); // how the computer of the venue is now
  if (strip) document.querySelector(".strip")?.replaceWith(document.adoptNode(strip));
  tell(place.firstElementChild.dataset.good === "true");
}

let busy = false;
async function send() {
  if (busy || !code.value.trim()) return;
  busy = true;
  const body = new URLSearchParams(new FormData(form));
  code.value = "";
  try {
    const answer = await fetch(form.action, { method: "POST", body, signal: AbortSignal.timeout(10000) });
    if (answer.redirected) {
      location.href = answer.url;
      return;
    }
    show(new DOMParser().parseFromString(await answer.text(), "text/html"));
  } catch {
    show(null);
  } finally {
    busy = false;
    code.focus();
  }
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  event.stopPropagation();
  send();
});

// The camera, where the browser reads codes itself.
const start = document.querySelector("[data-camera]");
if ("BarcodeDetector" in window && navigator.mediaDevices) start.hidden = false;
start.addEventListener("click", async () => {
  const video = document.querySelector("video.camera");
  try {
    video.srcObject = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
  } catch {
    return;
  }
  start.hidden = true;
  video.hidden = false;
  await video.play();
  const detector = new BarcodeDetector({ formats: ["qr_code"] });
  let last = "", at = 0;
  const look = async () => {
    try {
      const [found] = await detector.detect(video);
      // The same code is sent again only after it was away for a while.
      if (found && (found.rawValue !== last || performance.now() - at > 4000)) {
        last = found.rawValue;
        code.value = last;
        send();
      }
      if (found) at = performance.now();
    } catch {
      // The next frame may be better.
    }
    setTimeout(look, 120);
  };
  look();
});
