// A door that never stops: codes are sent without leaving the page, by keyboard, hand scanner or camera.
const form = document.querySelector("[data-scan]");
const code = form.elements.code;
const video = document.querySelector("video.camera");
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
    if (video.hidden) code.focus(); // else the keyboard of a telephone would cover the picture
  }
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  event.stopPropagation();
  send();
});

// The camera. Where the browser does not read codes itself, frames are read by who serves the page.
const start = document.querySelector("[data-camera]");
if (navigator.mediaDevices) start.hidden = false;

async function reader() {
  if ("BarcodeDetector" in window && (await BarcodeDetector.getSupportedFormats()).includes("qr_code")) {
    const detector = new BarcodeDetector({ formats: ["qr_code"] });
    return { pause: 120, read: async () => (await detector.detect(video))[0]?.rawValue };
  }
  const canvas = document.createElement("canvas"), most = 640;
  const pen = canvas.getContext("2d", { alpha: false });
  return { pause: 200, read: async () => {
    const side = Math.min(video.videoWidth, video.videoHeight); // the middle, where people hold a code
    canvas.width = canvas.height = Math.min(side, most);
    pen.drawImage(video, (video.videoWidth - side) / 2, (video.videoHeight - side) / 2, side, side, 0, 0,
      canvas.width, canvas.height);
    const frame = await new Promise((done) => canvas.toBlob(done, "image/jpeg", 0.7));
    const answer = await fetch(form.dataset.frames, { method: "POST", body: frame, signal: AbortSignal.timeout(5000) });
    if (answer.redirected) location.href = answer.url;
    return answer.status === 200 ? (await answer.json()).code : undefined;
  } };
}

start.addEventListener("click", async () => {
  try {
    video.srcObject = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
  } catch {
    return;
  }
  start.hidden = true;
  video.hidden = false;
  await video.play();
  const { pause, read } = await reader();
  let last = "", at = 0;
  const look = async () => {
    try {
      const found = document.hidden ? undefined : await read();
      // The same code is sent again only after it was away for a while.
      if (found && (found !== last || performance.now() - at > 4000)) {
        last = found;
        code.value = last;
        send();
      }
      if (found) at = performance.now();
    } catch {
      // The next frame may be better.
    }
    setTimeout(look, pause);
  };
  look();
});
