// The frame around the views: which one is shown, how often it is refreshed, and who is signed in.

import { ask, signIn, signOut, user } from './ask.js';
import { fill, span } from './build.js';
import { overviewView, rates } from './overview.js';
import { banner, clearProblem, explain } from './report.js';
import { sessionView, sessionsView } from './sessions.js';
import { topView } from './tops.js';
import { treeView } from './tree.js';
import { watchesView } from './watches.js';

const REFRESH_MS = 2000;
const VIEWS = { overview: overviewView, tree: treeView, sessions: sessionsView, session: sessionView, watches: watchesView, top: topView };
const TABS = { session: 'sessions' };

const element = (id) => document.getElementById(id);
const main = element('main');
let update = async () => {};
let shown = null;
let overview = null;
let isLive = true;
let round = 0;

function decodePart(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

// Which window is which server's.
let title = '';
function tellTitle() {
  const server = overview?.server;
  document.title = [title, server && `server ${server.id} (${server.role ?? 'not serving'})`, location.host, 'Meerkat'].filter(Boolean).join(' – ');
}

function show() {
  const parts = location.hash.replace(/^#\/?/, '').split('/').map(decodePart);
  const name = Object.hasOwn(VIEWS, parts[0]) ? parts[0] : 'overview';
  const rest = parts.slice(1).filter((part) => part !== '');
  for (const link of document.querySelectorAll('header nav a')) {
    const isHere = link.getAttribute('href') === `#/${TABS[name] ?? name}`;
    if (isHere) link.setAttribute('aria-current', 'page');
    else link.removeAttribute('aria-current');
  }
  delete main.dataset.ready;
  clearProblem(true);
  title = rest.length > 0 && name === 'tree' ? `/${rest.join('/')}` : name;
  tellTitle();
  // The tree goes on where it is.
  if (name === 'tree' && shown === 'tree' && update.open) {
    update.open(`/${rest.join('/')}`);
    refresh();
    return;
  }
  shown = name;
  update = VIEWS[name](main, name === 'tree' ? [`/${rest.join('/')}`] : rest);
  refresh();
}

function tell(found) {
  const { server } = found;
  tellTitle();
  fill(element('who'), `server ${server.id} · ${server.role ?? 'not serving'} · up ${span(server.uptime_ms)}`);
  element('commands').setAttribute('href', server.command_url);
  if (server.serves === 'nobody' && found.in_touch) banner('This leader does not serve clients (leaderServes=no).', 'warn');
  else if (server.serves === 'nobody') banner('This server is not serving requests: it is out of touch with a majority of the ensemble.', 'bad');
  else if (server.serves === 'read-only') banner('Read-only: without a majority this server answers reads, and what it shows may be old.', 'warn');
  else banner(null);
}

async function refresh() {
  round += 1;
  const mine = round;
  try {
    overview = await ask('overview');
    overview.rate = rates(overview);
    if (mine !== round) return;
    tell(overview);
    await update(shown === 'overview' ? overview : undefined);
    if (mine === round) clearProblem();
    if (mine === round) main.dataset.ready = shown;
  } catch (error) {
    if (mine === round) explain(error);
  }
}

// One after the other: a slow answer delays the next question.
async function drive() {
  for (;;) {
    await new Promise((resolve) => { setTimeout(resolve, REFRESH_MS); });
    if (isLive && !document.hidden) await refresh();
  }
}

element('live').addEventListener('click', () => {
  isLive = !isLive;
  element('live').setAttribute('aria-pressed', String(isLive));
  element('live-text').textContent = isLive ? 'Live' : 'Paused';
  if (isLive) refresh();
});

element('skip').addEventListener('click', (event) => {
  event.preventDefault();
  main.focus();
});

const dialog = element('sign-dialog');
element('sign').addEventListener('click', () => {
  if (user()) {
    signOut();
    getSelection().removeAllRanges();
    element('sign').textContent = 'Sign in';
    refresh();
    return;
  }
  element('sign-error').hidden = true;
  dialog.showModal();
});
element('sign-cancel').addEventListener('click', () => dialog.close());
dialog.querySelector('form').addEventListener('submit', async (event) => {
  event.preventDefault();
  try {
    await signIn(element('user').value, element('password').value);
    element('password').value = '';
    dialog.close();
    getSelection().removeAllRanges();
    element('sign').textContent = `Sign out ${user()}`;
    refresh();
  } catch (error) {
    element('sign-error').textContent = error.message;
    element('sign-error').hidden = false;
  }
});

window.addEventListener('hashchange', show);
show();
drive();
