// What somebody has to be told above the view: that the server is away, and what has failed.

const element = (id) => document.getElementById(id);

export function banner(text, kind = '') {
  const box = element('banner');
  if (box.hidden === !text && box.textContent === (text ?? '')) return;
  box.hidden = !text;
  box.className = `banner ${kind}`;
  box.textContent = text ?? '';
}

// Whether what is told came from something that somebody did: a refresh that succeeds says nothing of that.
let isOfAction = false;

function tell(text) {
  const box = element('problem');
  box.hidden = !text;
  if (box.textContent !== (text ?? '')) box.textContent = text ?? '';
}

export function explain(error, ofAction = false) {
  if (error.status === 0 && !ofAction) {
    banner('The server does not answer. Trying again …', 'bad');
    return;
  }
  if (error.status === undefined && !error.isTold) console.error(error);
  isOfAction = ofAction;
  tell(error.status === 503 && !ofAction ? 'Nothing can be shown here while this server is not serving.' : error.message);
}

export function clearProblem(ofAction = false) {
  if (!ofAction && isOfAction) return;
  isOfAction = false;
  tell(null);
}

// An error of ours that is no mistake of the program.
export function problem(message) {
  return Object.assign(new Error(message), { isTold: true });
}

// Runs what a button or key does, and tells what went wrong.
export async function attempt(action) {
  clearProblem(true);
  try {
    return await action();
  } catch (error) {
    explain(error, true);
    return undefined;
  }
}
