// Requests to the server. Each rejects with the message that the server gives.

async function respond(response) {
  const content = await response.json().catch(() => ({}));
  if (!response.ok) {
    throw new Error(content.error || (response.status === 401 ? "Open the page with its token again." :
      `The server refused this (${response.status}).`));
  }
  return content;
}

async function send(path, options) {
  let response;
  try {
    response = await fetch(path, options);
  } catch {
    throw new Error("No connection: sed review is not running any more. Start it again and reload.");
  }
  return respond(response);
}

export function get(path, parameters = {}) {
  const given = Object.entries(parameters).filter(([, value]) => value !== "" && value !== undefined);
  const query = new URLSearchParams(given).toString();
  return send(query ? `${path}?${query}` : path);
}

export function post(path, content) {
  return send(path, {
    method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(content),
  });
}
