// The servers that the page belongs to, and a client of them.
'use strict';

const { execFile, spawn } = require('node:child_process');
const fs = require('node:fs');
const net = require('node:net');
const os = require('node:os');
const path = require('node:path');
const { promisify } = require('node:util');
const zookeeper = require('node-zookeeper-client');

const PATIENCE_MS = 30000;
// The super user of the lone server, as everywhere in these tests.
const SUPER = ['super', 'meerkat'];
const SUPER_DIGEST = 'super:FAinkl9dklNLTgD1KcfghZYczI0=';

// Polls until `look` gives something, and tells at the end what it was about.
async function eventually(what, look) {
  const end = Date.now() + PATIENCE_MS;
  let last;
  while (Date.now() < end) {
    try {
      const found = await look();
      if (found) return found;
    } catch (error) {
      last = error;
    }
    await new Promise((resolve) => { setTimeout(resolve, 50); });
  }
  throw new Error(`never came: ${what}${last ? ` (${last.message})` : ''}`);
}

// One exchange over TCP, until the other end closes or `isWhole` says so.
function exchange(port, text, isWhole = () => false) {
  return new Promise((resolve, reject) => {
    const socket = net.connect(port, '127.0.0.1', () => socket.write(text));
    let answer = '';
    socket.setTimeout(PATIENCE_MS, () => socket.destroy(new Error('silence')));
    socket.on('data', (data) => {
      answer += data;
      if (isWhole(answer)) socket.end();
    });
    socket.on('error', reject);
    socket.on('close', () => resolve(answer));
  });
}

async function figures(port) {
  const lines = (await exchange(port, 'mntr')).trim().split('\n');
  return Object.fromEntries(lines.map((line) => line.replace(/^zk_/, '').split('\t')));
}

// What the shell prints for one command.
async function shell(port, ...words) {
  const run = promisify(execFile);
  const { stdout } = await run(process.env.MEERKAT_CLI_BIN, ['-server', `127.0.0.1:${port}`, ...words]);
  return stdout;
}

// Tells with-ensemble what to do with its servers.
async function control(line) {
  const [host, port] = process.env.ZK_CONTROL.split(':');
  if (host !== '127.0.0.1') throw new Error(`a control address elsewhere: ${host}`);
  const answer = (await exchange(Number(port), `${line}\n`, (text) => text.endsWith('\n'))).trim();
  if (!answer.startsWith('ok')) throw new Error(`${line}: ${answer}`);
  return answer.split(' ').slice(1);
}

function freePort() {
  return new Promise((resolve, reject) => {
    const server = net.createServer().on('error', reject).listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

class Lone {
  // The only member that runs of an ensemble of three.
  static async startReadOnly() {
    const lines = ['readonlymode.enabled=true', 'initLimit=10', 'syncLimit=5'];
    for (const id of [1, 2, 3]) lines.push(`server.${id}=127.0.0.1:${await freePort()}:${await freePort()}`);
    return Lone.start(lines, (port) => exchange(port, 'isro').then((answer) => answer === 'ro'));
  }

  // One that serves whoever `isReady` asks for; `lines` stand behind those of its configuration.
  static async start(lines = [], isReady = (port) => exchange(port, 'ruok').then((answer) => answer === 'imok')) {
    const server = new Lone();
    server.home = fs.mkdtempSync(path.join(os.tmpdir(), 'meerkat-web-'));
    [server.port, server.admin] = [await freePort(), await freePort()];
    const config = path.join(server.home, 'zoo.cfg');
    fs.writeFileSync(config, [`dataDir=${server.home}/data`, `clientPort=${server.port}`, 'clientPortAddress=127.0.0.1',
      'tickTime=1000', '4lw.commands.whitelist=*', `admin.serverPort=${server.admin}`, 'admin.serverAddress=127.0.0.1',
      `DigestAuthenticationProvider.superDigest=${SUPER_DIGEST}`, ...lines, ''].join('\n'));
    fs.mkdirSync(path.join(server.home, 'data'));
    fs.writeFileSync(path.join(server.home, 'data', 'myid'), '1\n');
    const log = fs.openSync(path.join(server.home, 'log'), 'w');
    server.process = spawn(process.env.MEERKAT_BIN, [config], { stdio: ['ignore', log, log] });
    fs.closeSync(log);
    server.origin = `http://127.0.0.1:${server.admin}`;
    await eventually('a server that serves', async () => (await isReady(server.port)) && fetch(`${server.origin}/api/overview`));
    return server;
  }

  stop() {
    this.process.kill('SIGKILL');
    fs.rmSync(this.home, { recursive: true, force: true });
  }
}

// The admin address of a member, from the configuration that its process was started with.
async function adminOf(id) {
  const [, pid] = await control(`pid ${id}`);
  const words = fs.readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
  const cwd = fs.readlinkSync(`/proc/${pid}/cwd`);
  const file = words.find((word) => word.endsWith('.cfg'));
  const text = fs.readFileSync(path.resolve(cwd, file), 'utf8');
  return `http://127.0.0.1:${/^admin\.serverPort=(\d+)$/m.exec(text)[1]}`;
}

// A session with the calls that the checks need, as promises.
async function client(port, auth) {
  const zk = zookeeper.createClient(`127.0.0.1:${port}`, { sessionTimeout: 8000, retries: 3 });
  if (auth) zk.addAuthInfo('digest', Buffer.from(auth));
  const connected = new Promise((resolve) => { zk.once('connected', resolve); });
  zk.connect();
  await connected;
  const call = (name) => promisify(zk[name]).bind(zk);
  return {
    zk,
    id: `0x${BigInt(`0x${zk.getSessionId().toString('hex')}`).toString(16)}`,
    create: (at, data = '', acl = zookeeper.ACL.OPEN_ACL_UNSAFE, mode = zookeeper.CreateMode.PERSISTENT) =>
      call('create')(at, data === null ? null : Buffer.from(data), acl, mode),
    set: (at, data) => call('setData')(at, Buffer.from(data), -1),
    setAcl: (at, acl) => call('setACL')(at, acl, -1),
    remove: (at) => call('remove')(at, -1),
    exists: (at) => call('exists')(at),
    data: (at) => call('getData')(at),
    watch: (at) => new Promise((resolve, reject) => {
      zk.exists(at, () => {}, (error) => (error ? reject(error) : resolve()));
    }),
    close: () => zk.close(),
  };
}

module.exports = { Lone, SUPER, adminOf, client, control, eventually, exchange, figures, shell, zookeeper };
