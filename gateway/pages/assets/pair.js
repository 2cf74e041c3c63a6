// The code of a pairing stands behind the # of the address, so that no server and no log has it. It goes into the form, and
// out of the address and the history.
const code = location.hash.slice(1);
if (code) {
  const form = document.querySelector("[data-pair]");
  form.elements.code.value = code;
  history.replaceState(null, "", location.pathname);
  form.querySelector("button").focus();
}
