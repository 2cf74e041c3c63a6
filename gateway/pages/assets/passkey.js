// Passkeys: before a form is sent, the browser is asked for one. A browser that has none does not show the form.
for (const form of document.querySelectorAll("form[data-passkey]")) {
  const make = form.elements.for.value === "new";
  if (!window.PublicKeyCredential?.parseRequestOptionsFromJSON) continue;
  form.hidden = false;
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    event.stopPropagation();
    try {
      const answer = await fetch("/passkeys/options", { method: "POST", body: new URLSearchParams(new FormData(form)) });
      if (answer.ok) { // otherwise the form that is sent without one says what is wrong
        const { public_key: options } = await answer.json();
        const key = make
          ? await navigator.credentials.create({ publicKey: PublicKeyCredential.parseCreationOptionsFromJSON(options) })
          : await navigator.credentials.get({ publicKey: PublicKeyCredential.parseRequestOptionsFromJSON(options) });
        form.elements.credential.value = JSON.stringify(key);
      }
    } catch {
      return; // the person has thought better of it
    }
    form.submit();
  });
}
