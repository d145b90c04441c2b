// What both pages share: calls with the API key, and elements without HTML text.
const KEY = "gitune-key";

export const byId = (id) => document.getElementById(id);

export function element(tag, text = "", attributes = {}) {
  const made = document.createElement(tag);
  made.textContent = text;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

export async function call(path, options = {}) {
  const headers = { ...options.headers };
  const key = sessionStorage.getItem(KEY);
  if (key) headers.Authorization = `Bearer ${key}`;
  if (options.body) headers["Content-Type"] = "application/json";
  let response;
  try {
    response = await fetch(path, { ...options, headers });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The server does not answer. Is it still running?");
  }
  if (response.ok) return response;
  const error = new Error(await reason(response));
  error.status = response.status;
  throw error;
}

async function reason(response) {
  try {
    return (await response.json()).error.message;
  } catch {
    return `The server answered ${response.status}.`;
  }
}

export function explain(problem) {
  byId("problem").textContent = problem ? problem.message : "";
}

/** Call `open` until the server accepts the key, and ask for one where it needs one. */
export async function unlock(open) {
  const form = byId("unlock");
  const attempt = async () => {
    explain();
    try {
      await open();
      form.hidden = true;
    } catch (problem) {
      const tried = sessionStorage.getItem(KEY);
      if (problem.status !== 401) return explain(problem);
      form.hidden = false;
      byId("key").focus();
      if (tried) explain(new Error("The server does not accept this key."));
      sessionStorage.removeItem(KEY);
    }
  };
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    sessionStorage.setItem(KEY, byId("key").value.trim());
    byId("key").value = "";
    attempt();
  });
  await attempt();
}
