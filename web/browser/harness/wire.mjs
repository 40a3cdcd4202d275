/** Frames on a page's socket as seen by the browser, and the gateway's transcript. */

/** Records all sockets of a page from now on. */
export function listen(page) {
  const wire = { sent: [], got: [], sockets: 0, closed: 0 };
  page.on("websocket", (socket) => {
    wire.sockets++;
    socket.on("framesent", ({ payload }) => wire.sent.push({ at: Date.now(), ...parse(payload) }));
    socket.on("framereceived", ({ payload }) => wire.got.push({ at: Date.now(), ...parse(payload) }));
    socket.on("close", () => wire.closed++);
  });
  wire.sends = () => wire.sent.filter((frame) => frame.type === "send");
  wire.chat = () => wire.sends().at(-1)?.id ?? null;
  return wire;
}

function parse(payload) {
  try {
    return JSON.parse(String(payload));
  } catch {
    return { type: "unreadable" };
  }
}

/** The gateway's transcript of a chat, requested with the browser's cookie; null if there is none. */
export async function remembered(page, stack, chat) {
  const answer = await page.context().request.get(`http://127.0.0.1:${stack.direct}/api/chats/${chat}`);
  return answer.ok() ? (await answer.json()).messages : null;
}

export const wireText = (message) => message.parts.map((part) => part.text).join("");
