// Reads event streams that are cut, as an app with `fetch` does: in Node, in Bun, and in a browser's page. Resolves to
// how many of them lost their last event, the error with this code. `together` streams run at once; when each has its
// first token, `ready` is called.
globalThis.countLost = async (base, code, tries, together = 1, ready = () => {}) => {
  let begun = 0;
  const one = async () => {
    const request = { method: "POST", headers: { "content-type": "application/json" }, body: "{}" };
    let answer;
    try {
      answer = await fetch(`${base}/chat/completions`, request);
    } catch {
      // Not even its head came through.
      return 1;
    }
    const reader = answer.body.getReader();
    const decoder = new TextDecoder();
    let text = "";
    for (;;) {
      let piece;
      try {
        piece = await reader.read();
      } catch {
        return text.includes(code) ? 0 : 1;
      }
      if (piece.done) throw new Error(`it looks whole: ${text}`);
      if (text === "" && ++begun === together) ready();
      text += decoder.decode(piece.value, { stream: true });
    }
  };
  let lost = 0;
  for (let done = 0; done < tries; done += together) {
    begun = 0;
    for (const one_lost of await Promise.all(Array.from({ length: together }, one))) lost += one_lost;
  }
  return lost;
};
