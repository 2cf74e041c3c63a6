"use strict";
(() => {
  const main = document.querySelector("main");
  const status = document.querySelector(".status");
  const buttons = document.querySelectorAll("button");
  const reason = document.querySelector("select");
  const choice = (button) => {
    const c = { outcome: button.dataset.outcome };
    const why = button.dataset.reason || (c.outcome === "declined" && reason ? reason.value : "");
    if (why) c.reason = why;
    return c;
  };
  const enable = (on) => buttons.forEach((b) => { b.disabled = !on; });
  buttons.forEach((button) => button.addEventListener("click", async () => {
    enable(false);
    status.textContent = "Sending…";
    try {
      const answer = await fetch("/v1/sandbox/payments/" + encodeURIComponent(main.dataset.payment), {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify(choice(button)),
      });
      if (answer.ok) {
        if (button.dataset.outcome === "succeeded") {
          location.reload(); // there may be another step
          return;
        }
        status.textContent = button.dataset.outcome === "authenticated" ? "Paid. Thank you!" : "Declined. Nothing was charged.";
        return;
      }
      const problem = await answer.json().catch(() => ({}));
      status.textContent = problem.detail || "That did not work. Please try again.";
      enable(answer.status === 429 || answer.status >= 500);
    } catch {
      status.textContent = "The network did not answer. Please try again.";
      enable(true);
    }
  }));
})();
