// The code of a pairing stands behind the # of the address, so that no server and no log has it. It goes into the form, and
// out of the address and the history.
const code = location.hash.slice(1);
if (code) {
  document.querySelector("[data-pair]").elements.code.value = code;
  history.replaceState(null, "", location.pathname);
}
