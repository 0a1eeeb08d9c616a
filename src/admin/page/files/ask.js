// Questions to the server. The sign-in lives in this module's memory and nowhere else.

let authorization = null;
let signedInAs = null;
// Whether some ACL that was seen names who signed in: any user and password are an identity.
let named = false;

export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

const PATIENCE_MS = 15000;

async function send(method, name, parameters, body, proof, patience = PATIENCE_MS) {
  const query = new URLSearchParams();
  for (const [key, value] of Object.entries(parameters)) {
    if (value !== null && value !== undefined && value !== '') query.set(key, value);
  }
  const headers = {};
  if (proof) headers.Authorization = proof;
  let response;
  try {
    response = await fetch(`api/${name}?${query}`, {
      method, headers, body, credentials: 'omit', cache: 'no-store', redirect: 'error',
      signal: AbortSignal.timeout(patience),
    });
  } catch {
    throw new Refused(0, 'The server does not answer.');
  }
  let answer = null;
  try {
    answer = await response.json();
  } catch {
    throw new Refused(response.status, `The server answered ${response.status} without JSON.`);
  }
  if (!response.ok) throw new Refused(response.status, answer.error ?? `Status ${response.status}`);
  return answer;
}

export const ask = (name, parameters = {}, patience) => send('GET', name, parameters, undefined, authorization, patience);

export const change = (method, parameters, body) =>
  send(method, 'znode', parameters, body, authorization);

export const user = () => signedInAs;

export const isNamed = () => named;
export function noteNamed() { named = true; }

// Keeps the proof when the server takes it; says who it proves.
export async function signIn(name, password) {
  const octets = new TextEncoder().encode(`${name}:${password}`);
  const proof = `Basic ${btoa(String.fromCharCode(...octets))}`;
  const identity = await send('GET', 'identity', {}, undefined, proof);
  if (name === 'super' && !identity.is_super) throw new Refused(401, 'This is not the super user: the password is wrong, or this server has no super user.');
  named = identity.is_super;
  authorization = proof;
  signedInAs = identity.is_super ? `${name} (super)` : name;
}

export function signOut() {
  authorization = null;
  signedInAs = null;
  named = false;
}
