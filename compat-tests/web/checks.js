// What somebody sees and does at the page of the admin server, in a headless Chromium.
//
//   checks.js [--pictures DIRECTORY] [NAME...]
'use strict';

const assert = require('node:assert/strict');
const { createHash, randomBytes } = require('node:crypto');
const fs = require('node:fs');
const http = require('node:http');
const path = require('node:path');
const { chromium } = require('playwright-core');
const { Lone, SUPER, adminOf, client, control, eventually, exchange, figures, shell, zookeeper } = require('./servers');

const PAGE_MS = 20000;
// More than one look at the largest had once.
const MANY = 210000;
const HOSTILE_NAME = '<img src=x onerror="window.ran=1">';
const HOSTILE_DATA = '<script>window.ran=1</script><img src=x onerror=window.ran=1>';
const TURNED_NAME = 'a\u202etxt.exe';
const ODD_NAMES = ['ünï cödé ☃', 'quote"\'s', 'percent%2Fslash', 'a#b?c&d=e', '__proto__', ' '];
const BINARY = Buffer.from([0, 1, 2, 0xff, 0xfe, 0x41, 0x42]);
const USER = ['alice', 'geheim ü:1'];

const digest = (user, password) =>
  `${user}:${createHash('sha1').update(`${user}:${password}`).digest('base64')}`;
const only = (user, password, perms = 31) => [new zookeeper.ACL(perms, new zookeeper.Id('digest', digest(user, password)))];
const headers = ([user, password]) => ({ Authorization: `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}` });

let pictures = null;

// A page that notes whatever must not happen.
class Visit {
  static async open(browser, origin, options = {}) {
    const visit = new Visit();
    visit.origin = origin;
    visit.wrong = [];
    visit.expected = [];
    visit.context = await browser.newContext({ viewport: { width: 1280, height: 860 }, ...options });
    await visit.context.addInitScript(() => {
      window.violations = [];
      document.addEventListener('securitypolicyviolation', (event) => window.violations.push(`${event.violatedDirective} ${event.blockedURI}`));
    });
    await visit.context.route('**', (route) => {
      const url = route.request().url();
      if (url.startsWith(`${origin}/`)) return route.continue();
      visit.wrong.push(`a request to ${url}`);
      return route.abort();
    });
    visit.page = await visit.context.newPage();
    visit.page.setDefaultTimeout(PAGE_MS);
    visit.page.on('pageerror', (error) => visit.wrong.push(`error: ${error.message}`));
    visit.page.on('console', (message) => {
      if (message.type() === 'error' || message.type() === 'warning') visit.wrong.push(`console: ${message.text()}`);
    });
    visit.page.on('dialog', (dialog) => {
      visit.wrong.push(`a dialog: ${dialog.message()}`);
      dialog.dismiss();
    });
    return visit;
  }

  async go(hash) {
    await this.page.goto(`${this.origin}/${hash}`);
    const view = /^#\/(overview|tree|sessions|session|watches|top)\b/.exec(hash)?.[1] ?? 'overview';
    await this.page.waitForSelector(`main[data-ready="${view}"]`);
    return this;
  }

  text(selector) {
    return this.page.locator(selector).innerText();
  }

  // Waits for a text that a locator shows.
  async shows(selector, text) {
    await this.page.locator(selector).filter({ hasText: text }).first().waitFor();
  }

  async picture(name) {
    if (pictures) await this.page.screenshot({ path: path.join(pictures, `${name}.png`), fullPage: false });
  }

  async signIn([user, password]) {
    await this.page.click('#sign');
    await this.page.fill('#user', user);
    await this.page.fill('#password', password);
    await this.page.click('#sign-dialog button[type=submit]');
    await this.shows('#sign', `Sign out ${user}`);
  }

  // Nothing ran, nothing left the origin, nothing was complained of. A refusal that was asked for
  // stands in the console, for the browser writes it there.
  async close() {
    const violations = await this.page.evaluate(() => window.violations);
    const ran = await this.page.evaluate(() => window.ran);
    await this.context.close();
    assert.deepEqual(violations, []);
    assert.equal(ran, undefined, 'data has run as a program');
    const wrong = this.wrong.filter((text) => !this.expected.some((expected) => text.includes(expected)));
    assert.deepEqual(wrong, []);
  }
}

const tile = (visit, name) => visit.page.locator('.tile', { has: visit.page.locator('.name', { hasText: name }) }).locator('.value').innerText();
const fact = (visit, name) => visit.page.locator('.facts > div', { has: visit.page.locator(`dt:text-is("${name}")`) }).locator('dd').innerText();
const number = (text) => Number(text.replaceAll(',', ''));

// One request with any method and headers, which fetch would not send.
function raw(origin, method, target, given = {}) {
  const url = new URL(origin);
  return new Promise((resolve, reject) => {
    const request = http.request({ host: url.hostname, port: url.port, method, path: target, headers: given }, (response) => {
      const parts = [];
      response.on('data', (part) => parts.push(part));
      response.on('end', () => {
        const body = Buffer.concat(parts).toString();
        let json = null;
        try { json = JSON.parse(body); } catch { /* no JSON, which the check will say */ }
        resolve({ status: response.statusCode, headers: response.headers, body, json });
      });
    });
    request.on('error', reject);
    request.end();
  });
}

// Ids of the servers of the ensemble that have a role, and the client port of one.
const ofRole = async (wanted) => {
  const found = [];
  for (const id of await control('ids')) if ((await control(`role ${id}`))[1] === wanted) found.push(id);
  return found;
};
const portOf = async (id) => Number((await control(`addr ${id}`))[1].split(':')[1]);

const query = (name, parameters) => `/api/${name}?${new URLSearchParams(parameters)}`;

// ---- the lone server -----------------------------------------------------------------------------

const lone = {
  async 'an empty tree and a server without clients'({ browser, server }) {
    const visit = await (await Visit.open(browser, server.origin)).go('#/tree');
    await visit.shows('[role=tree]', 'zookeeper');
    await visit.shows('.detail', 'Empty.');
    await visit.go('#/watches');
    await visit.shows('main', 'Nobody watches anything');
    await visit.go('#/sessions');
    await visit.shows('main', 'No session.');
    await visit.go('#/top');
    await visit.shows('main', 'Nobody is connected');
    await visit.close();
  },

  async 'the overview tells what mntr tells'({ browser, server }) {
    const user = await client(server.port);
    await user.create('/counted', 'x'.repeat(1000));
    await user.create('/counted/ephemeral', '', undefined, zookeeper.CreateMode.EPHEMERAL);
    await user.watch('/counted');
    const visit = await (await Visit.open(browser, server.origin)).go('#/overview');
    await eventually('the same figures', async () => {
      const told = await figures(server.port);
      const shown = await Promise.all(['Znodes', 'Watches', 'Connections', 'Outstanding'].map((name) => tile(visit, name)));
      const expected = ['znode_count', 'watch_count', 'num_alive_connections', 'outstanding_requests'].map((name) => told[name]);
      // The connection that asks mntr is one of those that it counts.
      expected[2] = String(Number(expected[2]) - 1);
      assert.deepEqual(shown.map((text) => String(number(text))), expected);
      return true;
    });
    const told = await figures(server.port);
    assert.equal(await fact(visit, 'Role'), told.server_state);
    assert.equal(await fact(visit, 'Version'), told.version);
    const srvr = await exchange(server.port, 'srvr');
    assert.equal(await tile(visit, 'Zxid'), /^Zxid: (\S+)$/m.exec(srvr)[1]);
    assert.match(await visit.text('.health'), /All is well/);
    // What somebody has selected stays as it is, and goes on when nothing is selected.
    await visit.page.locator('.facts dd', { hasText: told.version }).selectText();
    const up = await fact(visit, 'Up for');
    await visit.page.waitForResponse((response) => response.url().includes('/api/overview'));
    await visit.page.waitForResponse((response) => response.url().includes('/api/overview'));
    assert.equal(await visit.page.evaluate(() => getSelection().toString()), told.version);
    assert.equal(await fact(visit, 'Up for'), up);
    await visit.page.evaluate(() => getSelection().removeAllRanges());
    await eventually('time goes on', async () => await fact(visit, 'Up for') !== up);
    assert.match(await visit.page.title(), /^overview – server 1 \(standalone\) – 127\.0\.0\.1:\d+ – Meerkat$/);
    await visit.picture('overview');
    await user.close();
    await visit.close();
  },

  async 'a znode is shown as zkCli shows it'({ browser, server }) {
    const user = await client(server.port);
    await user.create('/json', JSON.stringify({ host: 'a', ports: [1, 2] }));
    await user.set('/json', JSON.stringify({ host: 'b', ports: [1, 2] }));
    // Each figure of its stat is another one.
    for (const name of ['a', 'b', 'c']) await user.create(`/json/${name}`);
    for (let times = 0; times < 2; times += 1) await user.setAcl('/json', zookeeper.ACL.OPEN_ACL_UNSAFE);
    const visit = await (await Visit.open(browser, server.origin)).go('#/tree/json');
    await visit.shows('pre.data', '"host": "b"');
    assert.equal(await visit.text('pre.data'), JSON.stringify({ host: 'b', ports: [1, 2] }, null, 2));
    await visit.page.getByRole('button', { name: 'Text', exact: true }).click();
    assert.equal(await visit.text('pre.data'), '{"host":"b","ports":[1,2]}');
    await visit.page.getByRole('button', { name: 'Hex', exact: true }).click();
    assert.match(await visit.text('pre.data'), /^00000000 {2}7b 22 68 6f/);
    const told = Object.fromEntries((await shell(server.port, 'stat', '/json')).split('\n').filter((line) => line.includes(' = ')).map((line) => line.split(' = ')));
    assert.match(await fact(visit, 'Created'), new RegExp(`at ${told.cZxid}$`));
    assert.match(await fact(visit, 'Modified'), new RegExp(`at ${told.mZxid}$`));
    assert.equal(await fact(visit, 'Children changed at'), told.pZxid);
    assert.equal(await fact(visit, 'Version of data'), told.dataVersion);
    assert.equal(await fact(visit, 'Version of children'), told.cversion);
    assert.equal(await fact(visit, 'Version of ACL'), told.aclVersion);
    assert.equal(await fact(visit, 'Data'), `${told.dataLength} bytes`);
    assert.equal(await fact(visit, 'Children'), told.numChildren);
    assert.match(await visit.text('.detail'), /world:anyone\s+create delete read write admin/);
    await visit.picture('tree-json');
    // It follows what clients change, and stands still when it shall.
    await user.set('/json', '"live"');
    await visit.shows('pre.data', '22 6c 69 76 65');
    await visit.page.click('#live');
    await user.set('/json', '"paused"');
    const asked = [];
    visit.page.on('request', (request) => asked.push(request.url()));
    await visit.page.waitForTimeout(3000);
    assert.deepEqual(asked, []);
    await visit.page.click('#live');
    await visit.shows('pre.data', '22 70 61 75 73 65 64');
    await user.close();
    await visit.close();
  },

  async 'JSON is indented and keeps what was written'({ browser, server }) {
    const user = await client(server.port);
    const written = '{"id":12345678901234567890,"price":1.10,"far":1e400,"a":1,"a":2,"10":[],"9":{ },\n"t":"\\u00e9 \\"{[,:]} ","l":[true,null,[-0.0]]}';
    await user.create('/literal', written);
    const visit = await (await Visit.open(browser, server.origin)).go('#/tree/literal');
    await visit.shows('pre.data', '12345678901234567890');
    assert.equal(await visit.text('pre.data'), ['{', '  "id": 12345678901234567890,', '  "price": 1.10,', '  "far": 1e400,',
      '  "a": 1,', '  "a": 2,', '  "10": [],', '  "9": {},', '  "t": "\\u00e9 \\"{[,:]} ",', '  "l": [', '    true,', '    null,',
      '    [', '      -0.0', '    ]', '  ]', '}'].join('\n'));
    await user.set('/literal', '"a text"');
    await visit.shows('pre.data', '"a text"');
    await user.close();
    await visit.close();
  },

  async 'binary data, null data and a megabyte'({ browser, server }) {
    const user = await client(server.port);
    await user.create('/binary', BINARY);
    await user.create('/null', null);
    const big = randomBytes(500000).toString('hex');
    await user.create('/big', big);
    const visit = await (await Visit.open(browser, server.origin)).go('#/tree/binary');
    assert.equal(await visit.text('pre.data'), '00000000  00 01 02 ff fe 41 42                              ·····AB');
    assert.equal(await visit.page.getByRole('button', { name: 'Text', exact: true }).count(), 0);
    await visit.go('#/tree/null');
    await visit.shows('.detail', 'null: this znode has no data');
    await visit.go('#/tree/big');
    await visit.page.getByRole('button', { name: /^Load the other/ }).click();
    await visit.shows('.rest', 'more characters are not drawn');
    const [download] = await Promise.all([visit.page.waitForEvent('download'), visit.page.click('[data-key=download]')]);
    assert.equal(fs.readFileSync(await download.path(), 'utf8'), big);
    await user.close();
    await visit.close();
  },

  async 'a download is of what was shown, and what fails is told'({ browser, server }) {
    const user = await client(server.port);
    const one = randomBytes(400000).toString('hex');
    await user.create('/one', one);
    await user.create('/other', 'something else');
    const visit = await (await Visit.open(browser, server.origin)).go('#/tree/one');
    const isRest = (url) => url.pathname === '/api/znode' && url.searchParams.has('from');
    // Somebody goes on before all of it is there.
    let go;
    const held = new Promise((resolve) => { go = resolve; });
    await visit.page.route(isRest, async (route) => { await held; await route.continue(); });
    const saved = visit.page.waitForEvent('download');
    await visit.page.click('[data-key=download]');
    await visit.page.getByRole('treeitem', { name: 'other' }).click();
    await visit.shows('pre.data', 'something else');
    go();
    const download = await saved;
    assert.equal(download.suggestedFilename(), 'one');
    assert.equal(fs.readFileSync(await download.path(), 'utf8'), one);
    await visit.page.unroute(isRest);
    // Somebody writes before all of it is there.
    await visit.page.getByRole('treeitem', { name: 'one' }).click();
    await visit.shows('.rest', 'Load the other');
    await visit.page.route(isRest, async (route) => { await user.set('/one', one); await route.continue(); });
    await visit.page.click('[data-key=download]');
    await visit.shows('#problem', 'The data of /one has changed while it was loaded');
    await visit.page.unroute(isRest);
    // A button that fails says so above what is shown, and the next one that does not takes it away.
    visit.expected.push('500');
    await visit.page.route(isRest, (route) => route.fulfill({ status: 500, contentType: 'application/json', body: '{"error":"made to fail"}' }));
    await visit.page.getByRole('button', { name: /^Load the other/ }).click();
    await visit.shows('#problem', 'made to fail');
    const [box, view] = await Promise.all(['#problem', 'main'].map((at) => visit.page.locator(at).boundingBox()));
    assert.ok(box.y + box.height <= view.y, 'it stands above the view');
    await visit.picture('problem');
    await visit.page.unroute(isRest);
    await visit.page.getByRole('button', { name: /^Load the other/ }).click();
    await visit.page.locator('#problem').waitFor({ state: 'hidden' });
    // One that goes while it is looked at.
    visit.expected.push('404');
    await user.remove('/one');
    await visit.shows('.detail', 'This znode is gone');
    await user.close();
    await visit.close();
  },

  async 'hostile and odd names and data are shown and do nothing'({ browser, server }) {
    const user = await client(server.port);
    await user.create('/hostile');
    await user.create(`/hostile/${HOSTILE_NAME}`, HOSTILE_DATA);
    await user.create(`/hostile/${HOSTILE_NAME}/below`, 'deep');
    await user.watch(`/hostile/${HOSTILE_NAME}`);
    for (const name of ODD_NAMES) await user.create(`/hostile/${name}`, `data of ${name}`);
    const visit = await (await Visit.open(browser, server.origin)).go('#/tree/hostile');
    await visit.page.getByRole('treeitem', { name: HOSTILE_NAME }).click();
    await visit.shows('pre.data', HOSTILE_DATA);
    assert.equal(await visit.text('pre.data'), HOSTILE_DATA);
    assert.equal(await visit.text('.detail h2.name'), HOSTILE_NAME);
    await visit.picture('tree-hostile');
    for (const name of ODD_NAMES) {
      await visit.go(`#/tree/hostile/${encodeURIComponent(name)}`);
      await visit.shows('pre.data', `data of ${name}`);
      assert.equal(await visit.page.locator('.detail h2.name').textContent(), name);
    }
    // What would turn the text around it is shown as what it is.
    await user.create(`/hostile/${TURNED_NAME}`, 'turned');
    await visit.go(`#/tree/hostile/${encodeURIComponent(TURNED_NAME)}`);
    await visit.shows('pre.data', 'turned');
    assert.equal(await visit.text('.detail h2.name'), 'a\\u202etxt.exe');
    assert.ok(!(await visit.text('main')).includes('\u202e'));
    await visit.go('#/constructor');
    for (const view of ['#/watches', '#/watches/session', '#/top', `#/session/${user.id}`]) {
      await visit.go(view);
      await visit.shows('main', HOSTILE_NAME);
    }
    await user.close();
    await visit.close();
  },

  async 'what needs an identity is shown to that identity'({ browser, server }) {
    const user = await client(server.port, USER.join(':'));
    await user.create('/secret', 'the secret', only(...USER));
    await user.create('/secret/child', 'below', only(...USER));
    const visit = await (await Visit.open(browser, server.origin)).go('#/tree/secret');
    await visit.shows('.detail', 'Its ACL asks for an identity');
    assert.doesNotMatch(await visit.page.content(), /the secret|below/);
    visit.expected.push('403');
    await visit.page.getByRole('treeitem', { name: 'secret' }).locator('.twist').click();
    await visit.shows('[role=tree]', 'Reading /secret needs an identity');
    await visit.picture('tree-locked');
    await visit.signIn(['mallory', 'x']);
    await visit.shows('.detail', 'Its ACL does not let you read it. No ACL seen so far names mallory with this password.');
    await visit.page.click('#sign');
    await visit.signIn(USER);
    await visit.shows('pre.data', 'the secret');
    await visit.shows('.detail', `digest:${digest(...USER)}`);
    assert.doesNotMatch(await visit.text('.detail'), /No ACL seen/);
    await visit.shows('[role=tree]', 'child');
    await visit.page.click('#sign');
    await visit.shows('.detail', 'Its ACL asks for an identity');
    assert.doesNotMatch(await visit.page.content(), /the secret/);
    await user.close();
    await visit.close();
    // A wrong password of the super user is told of, and guesses take their time.
    const guess = await (await Visit.open(browser, server.origin)).go('#/overview');
    await guess.page.click('#sign');
    await guess.page.fill('#user', SUPER[0]);
    await guess.page.fill('#password', `${SUPER[1]}!`);
    const begin = Date.now();
    await guess.page.click('#sign-dialog button[type=submit]');
    await guess.shows('#sign-error', 'This is not the super user');
    assert.ok(Date.now() - begin >= 1000, 'a guess is answered at once');
    await guess.page.fill('#password', SUPER[1]);
    await guess.page.click('#sign-dialog button[type=submit]');
    await guess.shows('#sign', 'Sign out super (super)');
    await guess.close();
    // As the shell: whoever may read but not administer sees no hash.
    const reader = await client(server.port, USER.join(':'));
    const both = [...only(...USER), new zookeeper.ACL(1, zookeeper.Id.ANYONE_ID_UNSAFE)];
    await reader.create('/readable', 'x', both);
    const found = await raw(server.origin, 'GET', query('znode', { path: '/readable' }));
    assert.equal(found.json.acl[0].id, 'alice:x');
    assert.doesNotMatch(found.body, new RegExp(digest(...USER).slice(6, 20)));
    await reader.close();
  },

  async 'changes are made by whom the ACL names'({ browser, server }) {
    const user = await client(server.port, USER.join(':'));
    await user.create('/mine', 'before', only(...USER));
    await user.create('/open', 'before');
    const visit = await (await Visit.open(browser, server.origin)).go('#/tree/mine');
    assert.equal(await visit.page.locator('.detail .actions').count(), 0);
    await visit.signIn(USER);
    await visit.page.getByRole('button', { name: 'Edit' }).click();
    await visit.page.fill('#edit-fields textarea', 'after ü');
    await visit.picture('edit');
    await visit.page.click('#edit-submit');
    await visit.shows('pre.data', 'after ü');
    assert.equal((await user.data('/mine')).toString(), 'after ü');
    // Somebody else is faster: nothing is overwritten.
    visit.expected.push('409');
    await visit.page.getByRole('button', { name: 'Edit' }).click();
    await user.set('/mine', 'theirs');
    await visit.page.fill('#edit-fields textarea', 'too late');
    await visit.page.click('#edit-submit');
    await visit.shows('#edit-error', 'changed meanwhile');
    await visit.page.click('#edit-cancel');
    assert.equal((await user.data('/mine')).toString(), 'theirs');
    await visit.page.getByRole('button', { name: 'Add a child' }).click();
    await visit.page.fill('#edit-fields input', 'new child');
    // What was typed is not thrown away by one key, and is sent once.
    await visit.page.keyboard.press('Escape');
    await visit.shows('#edit-error', 'Escape again');
    let sent = 0;
    visit.page.on('request', (request) => { sent += request.method() === 'POST' ? 1 : 0; });
    await visit.page.fill('#edit-fields textarea', 'fresh');
    await visit.page.evaluate(() => { for (let times = 0; times < 2; times += 1) document.getElementById('edit-submit').click(); });
    await visit.shows('.detail h2.name', 'new child');
    assert.equal(sent, 1);
    await visit.shows('pre.data', 'fresh');
    assert.match(await shell(server.port, 'getAcl', '/mine/new child').catch((error) => error.stderr + error.stdout), /Insufficient permission|NoAuth/);
    await visit.page.getByRole('button', { name: 'Delete' }).click();
    await visit.page.click('#edit-submit');
    await visit.shows('.detail h2.name', 'mine');
    assert.equal(await user.exists('/mine/new child'), null);
    // What everybody may do is no reason.
    await visit.go('#/tree/open');
    await visit.shows('.detail', 'does not name you');
    await visit.close();
    // A sign-in is no connection that stays.
    assert.equal(Number((await figures(server.port)).num_alive_connections), 2);
    await user.close();
  },

  async 'an edit keeps the bytes that it does not touch'({ browser, server }) {
    const user = await client(server.port, USER.join(':'));
    await user.create('/crlf', '\ufeffa=1\r\nb=2\r\n', only(...USER));
    const visit = await (await Visit.open(browser, server.origin)).go('#/tree/crlf');
    await visit.signIn(USER);
    const area = visit.page.locator('#edit-fields textarea');
    await visit.page.getByRole('button', { name: 'Edit' }).click();
    assert.equal(await area.inputValue(), '\ufeffa=1\nb=2\n');
    await area.press('Control+End');
    await area.pressSequentially('c=3\n');
    await visit.page.click('#edit-submit');
    await visit.shows('pre.data', 'c=3');
    assert.equal((await user.data('/crlf')).toString(), '\ufeffa=1\r\nb=2\r\nc=3\r\n');
    // What a form cannot give back is not put into one.
    for (const data of ['a\r\nb\n', 'a\rb', 'a\r\r\nb']) {
      await user.set('/crlf', data);
      await visit.go('#/overview');
      await visit.go('#/tree/crlf');
      await visit.page.getByRole('button', { name: 'Edit' }).click();
      await visit.shows('#edit-fields', 'end in more than one way');
      assert.equal(await area.count(), 0);
      await visit.page.click('#edit-cancel');
      assert.equal((await user.data('/crlf')).toString(), data);
    }
    await user.close();
    await visit.close();
  },

  async 'changes are refused without a proof'({ server }) {
    const user = await client(server.port);
    await user.create('/guarded', 'x', only(...USER));
    await user.create('/anybodys', 'x');
    const target = (at, more = {}) => query('znode', { path: at, ...more });
    for (const [method, given, at, status] of [
      ['PUT', {}, '/guarded', 401],
      ['PUT', { Cookie: 'Authorization=digest' }, '/guarded', 401],
      ['PUT', headers(['mallory', 'x']), '/guarded', 403],
      ['PUT', headers(['mallory', 'x']), '/anybodys', 403],
      ['DELETE', headers(USER), '/guarded', 403],
      ['POST', headers(USER), '/anybodys/x', 403],
      ['PUT', { Authorization: 'digest nonsense' }, '/anybodys', 401],
      ['PUT', { Authorization: 'ip' }, '/anybodys', 401],
      ['PUT', { ...headers(SUPER), Host: 'rebound.example:80' }, '/anybodys', 421],
      ['GET', { Host: 'rebound.example' }, '/anybodys', 421],
      ['PUT', headers(USER), '/nothing', 404],
    ]) {
      const answer = await raw(server.origin, method, target(at), given);
      assert.equal(answer.status, status, `${method} ${at}: ${answer.body}`);
      assert.equal(typeof answer.json.error, 'string');
    }
    assert.equal((await user.data('/anybodys')).toString(), 'x');
    // More than a request may have.
    const large = await fetch(`${server.origin}${target('/guarded')}`, { method: 'PUT', headers: headers(USER), body: 'x'.repeat(1 << 20) });
    assert.equal(large.status, 413);
    // The super user may, and a wrong version is refused by the pipeline.
    assert.equal((await raw(server.origin, 'PUT', target('/guarded', { version: 7 }), headers(SUPER))).status, 409);
    assert.equal((await raw(server.origin, 'DELETE', target('/guarded'), headers(SUPER))).status, 200);
    assert.equal(await user.exists('/guarded'), null);
    await user.close();
  },

  async 'wrong questions get clear answers'({ server }) {
    for (const [method, at, status, allow] of [
      ['GET', '/api/nonsense', 404],
      ['GET', '/nonsense', 404],
      ['POST', '/', 405, 'GET, HEAD'],
      ['POST', '/api/overview', 405, 'GET, HEAD'],
      ['DELETE', '/api/children?path=/', 405, 'GET, HEAD'],
      ['OPTIONS', '/api/znode?path=/', 405, 'GET, HEAD, POST, PUT, DELETE'],
      ['GET', '/api/znode', 400],
      ['GET', '/api/znode?path=relative', 400],
      ['GET', '/api/znode?path=/a/../b', 400],
      ['GET', '/api/znode?path=/none', 404],
      ['GET', '/api/children?path=/&limit=x', 400],
      ['GET', '/api/session?id=zz', 400],
      ['GET', '/api/session?id=0x1', 404],
      ['GET', '/api/top/clients?order=x', 400],
    ]) {
      const answer = await raw(server.origin, method, at);
      assert.equal(answer.status, status, `${method} ${at}`);
      assert.equal(answer.headers.allow, allow, `${method} ${at}`);
      if (at.startsWith('/api/')) assert.equal(typeof answer.json?.error, 'string', `${method} ${at}: ${answer.body}`);
      assert.equal(answer.headers['access-control-allow-origin'], undefined);
      assert.equal(answer.headers['x-content-type-options'], 'nosniff');
    }
    const page = await raw(server.origin, 'GET', '/');
    assert.match(page.headers['content-security-policy'], /^default-src 'none'; script-src 'self';/);
    assert.doesNotMatch(page.headers['content-security-policy'], /unsafe/);
    // The commands are what they were.
    assert.equal((await raw(server.origin, 'GET', '/commands/ruok')).body, '{\n  "command" : "ruok",\n  "error" : null\n}');
  },

  async 'sessions show who holds what'({ browser, server }) {
    const user = await client(server.port);
    await user.create('/held', '', undefined, zookeeper.CreateMode.EPHEMERAL);
    await user.watch('/held/later');
    const visit = await (await Visit.open(browser, server.origin)).go('#/tree/held');
    assert.equal(await fact(visit, 'Ephemeral owner'), user.id);
    await visit.go('#/sessions');
    const row = visit.page.locator('tbody tr', { hasText: user.id });
    const cells = await row.locator('td').allInnerTexts();
    const { localPort } = user.zk.connectionManager.socket;
    assert.deepEqual([cells[0].trim(), cells[1].trim(), cells[2].trim(), cells[4].trim(), cells[5].trim()],
      [user.id, `127.0.0.1:${localPort}`, '8.0 s', '1', '1']);
    assert.match(cells[3], /ago$/);
    await visit.picture('sessions');
    await row.getByRole('link').first().click();
    await visit.shows('main', '/held/later');
    await visit.shows('.list', '/held');
    await visit.picture('session');
    await visit.go('#/watches');
    await visit.page.getByRole('searchbox').fill('held/lat');
    await visit.page.locator('tbody tr').filter({ hasText: '/held/later' }).waitFor();
    await eventually('the filter', async () => await visit.page.locator('tbody tr').count() === 1);
    const watch = await visit.text('tbody tr');
    assert.ok(watch.includes(user.id) && watch.includes('data'), watch);
    await visit.picture('watches');
    await visit.go('#/watches/session');
    await visit.shows('tbody tr', user.id);
    await user.close();
    await visit.go('#/sessions');
    await visit.page.locator('tbody tr', { hasText: user.id }).waitFor({ state: 'detached' });
    await visit.close();
  },

  async 'two hundred thousand children come in pages'({ browser, server }) {
    const user = await client(server.port);
    await user.create('/many');
    for (let begin = 0; begin < MANY; begin += 2000) {
      await new Promise((resolve, reject) => {
        const transaction = user.zk.transaction();
        for (let at = begin; at < begin + 2000; at += 1) transaction.create(`/many/n${String(at).padStart(6, '0')}`);
        transaction.commit((error) => (error ? reject(error) : resolve()));
      });
    }
    const first = (await raw(server.origin, 'GET', query('children', { path: '/many', limit: 10 ** 6 }))).json;
    assert.deepEqual([first.total, first.children.length, first.more], [MANY, 1000, MANY - 1000]);
    const names = first.children.map((child) => child.name);
    assert.deepEqual(names, [...names].sort());
    const next = (await raw(server.origin, 'GET', query('children', { path: '/many', after: names.at(-1), limit: 1 }))).json;
    assert.equal(next.children[0].name, 'n001000');
    const visit = await (await Visit.open(browser, server.origin)).go('#/tree/many');
    await visit.shows('[role=treeitem].more', `${(MANY - 200).toLocaleString('en-US')} more`);
    await visit.picture('tree-many');
    await visit.page.locator('[role=treeitem].more').click();
    await visit.shows('[role=treeitem]', 'n000399');
    await visit.page.fill('#find', 'n09999');
    await visit.shows('[role=treeitem]', 'n099999');
    assert.equal(await visit.page.locator('[role=treeitem][aria-level="3"]:not(.more)').count(), 10);
    // That not all are shown, says a row, which shows them again.
    await visit.page.locator('[role=treeitem].more', { hasText: `10 of ${MANY.toLocaleString('en-US')}` }).click();
    await visit.shows('[role=treeitem]', 'n000199');
    assert.equal(await visit.page.inputValue('#find'), '');
    // A child that is far down in the list is shown nevertheless, and where it is.
    await visit.go('#/overview');
    await visit.go('#/tree/many/n054321');
    const far = visit.page.getByRole('treeitem', { name: 'n054321' });
    await far.waitFor();
    assert.equal(await far.getAttribute('aria-selected'), 'true');
    assert.equal(await visit.page.getAttribute('#find', 'placeholder'), 'Filter the children of n054321');
    await eventually('the selected row in sight', () => far.evaluate((row) => {
      const [list, at] = [row.parentElement.getBoundingClientRect(), row.getBoundingClientRect()];
      return at.top >= list.top && at.bottom <= list.bottom + 1;
    }));
    await visit.picture('tree-far');
    // What is listed of many is what is there.
    await user.create('/many/n0543210');
    await eventually('the new child', async () => {
      const found = (await raw(server.origin, 'GET', query('children', { path: '/many', find: 'n054321' }))).json;
      return found.children.length === 2 && found.found === 2;
    });
    await user.remove('/many/n0543210');
    await visit.go('#/top');
    await visit.page.locator('.card', { hasText: 'Most children' }).getByRole('link', { name: '/many' }).waitFor();
    await visit.shows('.card', `${(MANY + 1).toLocaleString('en-US')} znodes`);
    await visit.picture('top');
    await user.close();
    await visit.close();
  },

  async 'the keyboard is enough'({ browser, server }) {
    const user = await client(server.port);
    await user.create('/keys');
    await user.create('/keys/one', 'first');
    const visit = await (await Visit.open(browser, server.origin)).go('#/tree/keys');
    const { page } = visit;
    await page.locator('body').press('Tab');
    assert.equal(await page.evaluate(() => document.activeElement.id), 'skip');
    await page.keyboard.press('Enter');
    await page.keyboard.press('Tab');
    await page.keyboard.press('Tab');
    const focused = () => page.evaluate(() => document.activeElement.dataset.path);
    assert.equal(await focused(), '/keys');
    const below = page.locator('[role=treeitem][aria-level="3"]');
    await below.waitFor();
    await page.keyboard.press('ArrowLeft');
    await below.waitFor({ state: 'detached' });
    await page.keyboard.press('ArrowRight');
    await visit.shows('[role=treeitem][aria-level="3"]', 'one');
    await page.keyboard.press('ArrowDown');
    await eventually('the next row', async () => await focused() === '/keys/one');
    await page.keyboard.press('Enter');
    await visit.shows('pre.data', 'first');
    assert.match(page.url(), /#\/tree\/keys\/one$/);
    await eventually('the focus stays', async () => await focused() === '/keys/one');
    await page.keyboard.press('ArrowLeft');
    await page.keyboard.press('ArrowLeft');
    await below.waitFor({ state: 'detached' });
    await page.keyboard.press('Home');
    assert.equal(await focused(), '/');
    // The dialog takes the focus and gives it back.
    await page.focus('#sign');
    await page.keyboard.press('Enter');
    assert.equal(await page.evaluate(() => document.activeElement.id), 'user');
    await page.keyboard.press('Escape');
    assert.equal(await page.evaluate(() => document.activeElement.id), 'sign');
    // All that can be used has a name.
    for (const view of ['#/overview', '#/tree/keys', '#/sessions', '#/watches', '#/top']) {
      await visit.go(view);
      const nameless = await page.evaluate(() => [...document.querySelectorAll('button, a, input, textarea, [role=treeitem]')]
        .filter((one) => !one.closest('dialog:not([open])') && !one.hidden)
        .filter((one) => !(one.textContent.trim() || one.getAttribute('aria-label') || one.labels?.length)).map((one) => one.outerHTML));
      assert.deepEqual(nameless, [], view);
    }
    await user.close();
    await visit.close();
  },

  async 'what is closed stays closed'({ browser, server }) {
    const user = await client(server.port);
    await user.create('/shut');
    await user.create('/shut/one', 'first');
    const visit = await (await Visit.open(browser, server.origin)).go('#/tree/shut/one');
    const { page } = visit;
    await visit.shows('pre.data', 'first');
    // An answer about children that was asked for before, and comes late.
    let [go, asked] = [];
    const [held, isAsked] = [new Promise((done) => { go = done; }), new Promise((done) => { asked = done; })];
    const isAbout = (url) => url.pathname.endsWith('/api/children') && url.searchParams.get('path') === '/shut';
    await page.route(isAbout, async (route) => { asked(); await held; await route.continue(); });
    await isAsked;
    const below = page.locator('[data-path="/shut/one"]');
    await page.locator('[data-path="/shut"] .twist').click();
    await below.waitFor({ state: 'detached' });
    const late = page.waitForResponse((response) => isAbout(new URL(response.url())));
    go();
    await late;
    await page.unroute(isAbout);
    // Two rounds later nobody has opened it again.
    for (const _ of [1, 2]) await page.waitForResponse((response) => response.url().includes('/api/znode'));
    assert.equal(await below.count(), 0);
    await user.close();
    await visit.close();
  },

  async 'a narrow screen by night'({ browser, server }) {
    const user = await client(server.port);
    await user.create('/narrow', JSON.stringify({ text: 'x'.repeat(300) }));
    const visit = await Visit.open(browser, server.origin, { viewport: { width: 375, height: 700 }, colorScheme: 'dark' });
    for (const view of ['#/overview', '#/tree/narrow', '#/sessions', `#/session/${user.id}`, '#/watches', '#/top']) {
      await visit.go(view);
      await visit.shows('main', /\w/);
      const widths = await visit.page.evaluate(() => [document.documentElement.scrollWidth, window.innerWidth]);
      assert.ok(widths[0] <= widths[1], `${view} is ${widths[0]} wide`);
      // Nothing but data has to be moved sideways to be read.
      const cut = await visit.page.evaluate(() => [...document.querySelectorAll('body *')]
        .filter((one) => one.scrollWidth > one.clientWidth && ['auto', 'scroll'].includes(getComputedStyle(one).overflowX) && !one.matches('pre.data'))
        .map((one) => `${one.tagName} ${one.className} ${one.scrollWidth}>${one.clientWidth}`));
      assert.deepEqual(cut, [], view);
      await visit.picture(`narrow-${/\w+/.exec(view)[0]}`);
    }
    const dark = await visit.page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    assert.equal(dark, 'rgb(23, 19, 15)');
    await user.close();
    await visit.close();
  },
};

const readOnly = {
  async 'a read-only server says that what it shows may be old'({ browser, server }) {
    const visit = await (await Visit.open(browser, server.origin)).go('#/overview');
    await visit.shows('#banner', 'what it shows may be old');
    await visit.shows('.health', 'answers reads only');
    assert.equal(await fact(visit, 'Role'), 'read-only');
    await visit.go('#/tree');
    await visit.shows('[role=tree]', 'zookeeper');
    await visit.picture('read-only');
    const refused = await raw(server.origin, 'POST', query('znode', { path: '/x' }), headers(SUPER));
    assert.equal(refused.status, 503);
    await visit.close();
  },
};

// ---- the ensemble --------------------------------------------------------------------------------

const ensemble = {
  async 'leader and followers tell who they are'({ browser }) {
    const ids = await control('ids');
    const [leader] = await control('leader');
    const roles = new Set();
    for (const id of ids) {
      const visit = await (await Visit.open(browser, await adminOf(id))).go('#/overview');
      const rows = await visit.page.locator('.card', { hasText: 'Members' }).locator('tbody tr').allInnerTexts();
      assert.equal(rows.length, ids.length);
      const leads = rows.filter((row) => /\bleader\b/.test(row));
      assert.equal(leads.length, 1);
      assert.ok(leads[0].includes(`server.${leader}`), leads[0]);
      const own = rows.find((row) => row.includes('this one'));
      assert.ok(own.includes(`server.${id}`), own);
      const [, role] = await control(`role ${id}`);
      assert.equal(await fact(visit, 'Role'), role);
      await visit.shows('#who', `server ${id} · ${role}`);
      // An observer is one in every server's list, and has no vote.
      for (const other of ids) {
        const [, its] = await control(`role ${other}`);
        const row = rows.find((one) => one.includes(`server.${other}`));
        assert.ok(row.includes(its), row);
        roles.add(its);
      }
      if (id === leader) {
        for (const row of rows.filter((one) => !one.includes('this one'))) assert.match(row, /ago/);
        await visit.shows('.health', 'All is well');
        await visit.picture('leader');
      } else {
        await visit.shows('main', `see the page of server ${leader}`);
        await visit.shows('.health', `This server is fine. How the others are, the page of the leader (server ${leader}) tells.`);
        await visit.picture(role);
      }
      await visit.close();
    }
    assert.deepEqual([...roles].sort(), ['follower', 'leader', 'observer']);
  },

  async 'an observer shows all that the others show'({ browser }) {
    const [observer] = await ofRole('observer');
    const user = await client(await portOf(observer), USER.join(':'));
    await user.create('/observed', '{"by":1}', only(...USER));
    await user.create('/observed/held', '', only(...USER), zookeeper.CreateMode.EPHEMERAL);
    await user.watch('/observed/later');
    const visit = await (await Visit.open(browser, await adminOf(observer))).go('#/tree/observed');
    await visit.signIn(USER);
    await visit.shows('pre.data', '"by": 1');
    await visit.page.getByRole('treeitem', { name: 'held' }).click();
    await visit.shows('.detail', user.id);
    await visit.go(`#/session/${user.id}`);
    await visit.shows('.list', '/observed/held');
    await visit.shows('main', '/observed/later');
    await visit.go('#/top');
    await visit.shows('.card', 'znodes');
    await visit.picture('observer-top');
    await user.close();
    await visit.close();
  },

  async 'a follower changes and shows what the leader has'({ browser }) {
    const [leader] = await control('leader');
    const [follower] = await ofRole('follower');
    const user = await client(await portOf(follower), USER.join(':'));
    await user.create('/shared', 'x', only(...USER));
    const visit = await (await Visit.open(browser, await adminOf(follower))).go('#/tree/shared');
    await visit.signIn(USER);
    await visit.page.getByRole('button', { name: 'Edit' }).click();
    await visit.page.fill('#edit-fields textarea', 'by the follower');
    await visit.page.click('#edit-submit');
    await visit.shows('pre.data', 'by the follower');
    const elsewhere = await adminOf(leader);
    await eventually('the same at the leader', async () => {
      const found = await raw(elsewhere, 'GET', query('znode', { path: '/shared' }), headers(USER));
      return Buffer.from(found.json.data.base64, 'base64').toString() === 'by the follower';
    });
    // A session that is connected elsewhere is listed, without an address.
    const other = await (await Visit.open(browser, elsewhere)).go('#/sessions');
    await other.shows('tbody tr', user.id);
    assert.match(await other.page.locator('tbody tr', { hasText: user.id }).innerText(), /not connected here, began at server \d/);
    await user.close();
    await visit.close();
    await other.close();
  },

  async 'a server without a quorum says so'({ browser }) {
    const [leader] = await control('leader');
    const others = await ofRole('follower');
    const visit = await (await Visit.open(browser, await adminOf(leader))).go('#/overview');
    const row = (id) => visit.page.locator('tbody tr', { hasText: `server.${id}` });
    visit.expected.push('503');
    try {
      await control(`pause ${others[0]}`);
      await visit.shows('.health', `Server ${others[0]} has not answered for`);
      await row(others[0]).filter({ hasText: 'silent' }).waitFor();
      assert.match(await row(others[1]).innerText(), /follower/);
      await visit.picture('silent-follower');
      await control(`pause ${others[1]}`);
      await visit.shows('#banner', 'not serving requests');
      await visit.shows('.health', 'No majority');
      await visit.shows('.health', 'No leader is known.');
      assert.doesNotMatch(await visit.page.getByRole('table', { name: 'Members of the ensemble' }).innerText(), /leader/);
      await visit.picture('no-quorum');
      await visit.page.goto(`${visit.origin}/#/tree`);
      await visit.shows('#banner', 'not serving requests');
      await visit.shows('#problem', 'Nothing can be shown here');
      await visit.picture('no-quorum-tree');
      const refused = await raw(visit.origin, 'GET', query('znode', { path: '/' }));
      assert.equal(refused.status, 503);
      assert.match(refused.json.error, /not serving/);
    } finally {
      for (const id of others) await control(`resume ${id}`);
    }
    await control('wait');
    await visit.page.locator('#banner').waitFor({ state: 'hidden' });
    await visit.shows('[role=tree]', 'zookeeper');
    await visit.close();
  },

  async 'a leader that is silent is one no more'({ browser }) {
    const [leader] = await control('leader');
    const [follower, other] = await ofRole('follower');
    const visit = await (await Visit.open(browser, await adminOf(follower))).go('#/overview');
    visit.expected.push('503');
    try {
      await control(`pause ${leader}`);
      await control(`pause ${other}`);
      await visit.shows('.health', `No leader is known. The last one was server ${leader}.`);
      await visit.shows('.card', `last leader: ${leader}`);
      const roles = await visit.page.locator('tbody tr .tag').allInnerTexts();
      assert.ok(!roles.includes('leader'), roles.join());
      await visit.picture('dead-leader');
    } finally {
      for (const id of [leader, other]) await control(`resume ${id}`);
    }
    await control('wait');
    await visit.shows('tbody tr', 'leader');
    await visit.close();
  },

  async 'a server that has gone is told of, and comes back'({ browser }) {
    const [leader] = await control('leader');
    const id = (await control('ids')).find((one) => one !== leader);
    const visit = await (await Visit.open(browser, await adminOf(id))).go('#/overview');
    visit.expected.push('ERR_CONNECTION_REFUSED', 'ERR_CONNECTION_RESET', 'ERR_EMPTY_RESPONSE', 'ERR_SOCKET');
    await control(`kill ${id}`);
    await visit.shows('#banner', 'The server does not answer');
    await control(`start ${id}`);
    await visit.page.locator('#banner').waitFor({ state: 'hidden' });
    await visit.close();
  },
};

// ---- running -------------------------------------------------------------------------------------

async function main() {
  const words = process.argv.slice(2);
  if (words[0] === '--pictures') {
    pictures = path.resolve(words[1]);
    fs.mkdirSync(pictures, { recursive: true });
    words.splice(0, 2);
  }
  const flags = process.getuid() === 0 ? ['--no-sandbox'] : [];
  const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: flags });
  let passed = 0;
  let failed = 0;
  const run = async (name, check, given) => {
    if (words.length > 0 && !words.some((word) => name.includes(word))) return;
    const begin = Date.now();
    try {
      await check(given);
      passed += 1;
      console.log(`ok ${name} (${Date.now() - begin} ms)`);
    } catch (error) {
      failed += 1;
      console.log(`FAIL ${name}: ${error.stack}`);
    } finally {
      for (const context of browser.contexts()) await context.close();
    }
  };
  for (const [start, checks] of [[() => Lone.start(), lone], [() => Lone.startReadOnly(), readOnly]]) {
    const server = await start();
    try {
      for (const [name, check] of Object.entries(checks)) await run(name, check, { browser, server });
    } finally {
      server.stop();
    }
  }
  for (const [name, check] of Object.entries(ensemble)) await run(name, check, { browser });
  await browser.close();
  console.log(`${passed} passed, ${failed} failed`);
  // Sessions of checks that failed would keep the process.
  process.exit(failed === 0 && passed > 0 ? 0 : 1);
}

main().catch((error) => {
  console.error(error);
  console.log('0 passed, 1 failed');
  process.exit(1);
});
