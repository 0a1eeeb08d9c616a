// What a user of node-zookeeper-client relies on, checked against the server named by ZK_CONNECT.
// Competing processes are this program again: `worker KIND ROOT NAME`. The one named `victim`
// stops while it holds what the others want, says so, and waits there to be killed.
'use strict';

const assert = require('node:assert/strict');
const { spawn } = require('node:child_process');
const { randomBytes } = require('node:crypto');
const { once } = require('node:events');
const readline = require('node:readline');
const { promisify } = require('node:util');
const zookeeper = require('node-zookeeper-client');

const { ACL, CreateMode, Event, Exception, Id, Permission } = zookeeper;
const SESSION_MS = 4000;
const PATIENCE_MS = 45000;
const CHECK_LIMIT_MS = 80000;
const IN_FLIGHT = 1000;

function within(ms, what, promise) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`never came: ${what}`)), ms);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

const soon = (what, promise) => within(PATIENCE_MS, what, promise);

// The library's calls as promises. `watched` turns a call into its answer and its next event.
class Client {
  constructor(suffix = '') {
    this.zk = zookeeper.createClient(process.env.ZK_CONNECT + suffix, {
      sessionTimeout: SESSION_MS, spinDelay: 100, retries: 3,
    });
    for (const name of ['create', 'remove', 'setData', 'getData', 'getChildren', 'exists', 'getACL',
      'setACL', 'mkdirp', 'removeRecursive', 'listSubTreeBFS']) {
      this[name] = promisify(this.zk[name]).bind(this.zk);
    }
  }

  static async connect(suffix) {
    const client = new Client(suffix);
    const connected = once(client.zk, 'connected');
    client.zk.connect();
    await soon('a session', connected);
    return client;
  }

  watched(name, path) {
    return new Promise((resolve, reject) => {
      let tell;
      const event = new Promise((told) => { tell = told; });
      this.zk[name](path, tell, (error, answer) => (error ? reject(error) : resolve([answer, event])));
    });
  }

  // getData and getChildren call back with two values, of which promisify keeps the first.
  read(path) {
    return new Promise((resolve, reject) => {
      this.zk.getData(path, (error, data, stat) => (error ? reject(error) : resolve([data, stat])));
    });
  }

  async number(path) {
    return Number((await this.getData(path)).toString());
  }

  commit(build) {
    const transaction = this.zk.transaction();
    build(transaction);
    return new Promise((resolve, reject) => {
      transaction.commit((error, results) => {
        if (error) reject(Object.assign(error, { results }));
        else resolve(results);
      });
    });
  }

  // The library's own removeRecursive reaches one level down only.
  async clear(path) {
    for (const child of await this.getChildren(path)) await this.clear(`${path}/${child}`);
    await this.remove(path);
  }

  async close() {
    const gone = once(this.zk, 'disconnected');
    this.zk.close();
    await soon('the end of a connection', gone);
  }

  get session() { return this.zk.getSessionId().toString('hex'); }
}

const code = (name) => (error) => {
  assert.equal(error.getCode && error.getCode(), Exception[name], `${error}, not ${name}`);
  return true;
};
const hex = (value) => Buffer.from(value).toString('hex');

class Worker {
  constructor(kind, root, name) {
    this.process = spawn(process.execPath, [__filename, 'worker', kind, root, name], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    this.ended = once(this.process, 'exit');
    this.lines = readline.createInterface({ input: this.process.stdout });
    this.said = new Set();
    this.lines.on('line', (line) => this.said.add(line));
  }

  async expect(word) {
    const heard = async () => {
      while (!this.said.has(word)) await once(this.lines, 'line');
    };
    const ended = this.ended.then(([status]) => {
      if (!this.said.has(word)) throw new Error(`a worker ended with ${status} before ${word}`);
    });
    await soon(word, Promise.race([heard(), ended]));
  }

  async kill() {
    this.process.kill('SIGKILL');
    await this.ended;
  }

  async finish() {
    const [status] = await soon('the end of a worker', this.ended);
    assert.equal(status, 0);
  }
}

async function compete(kind, root) {
  const [first, victim, third] = ['first', 'victim', 'third'].map((name) => new Worker(kind, root, name));
  try {
    await victim.expect('holding');
    await victim.kill();
    await first.finish();
    await third.finish();
  } finally {
    for (const worker of [first, victim, third]) worker.process.kill('SIGKILL');
  }
}

function hold() {
  console.log('holding');
  return new Promise(() => {});
}

const WORK = {
  async lock(client, root, name) {
    for (let turn = 0; turn < 15; turn += 1) {
      const made = await client.create(`${root}/lock/l-`, null, CreateMode.EPHEMERAL_SEQUENTIAL);
      for (;;) {
        const mine = made.split('/').pop();
        const before = (await client.getChildren(`${root}/lock`)).filter((child) => child < mine).sort().pop();
        if (before === undefined) break;
        const [stat, event] = await client.watched('exists', `${root}/lock/${before}`);
        if (stat) await event;
      }
      // Refused with NODE_EXISTS when a second process is inside.
      await client.create(`${root}/inside`, null, CreateMode.EPHEMERAL);
      const count = await client.number(`${root}/count`);
      await client.setData(`${root}/count`, Buffer.from(`${count + 1}`));
      if (name === 'victim' && turn === 4) await hold();
      await client.remove(`${root}/inside`);
      await client.remove(made);
    }
  },

  async transfer(client, root, name) {
    for (let moved = 0; moved < 25;) {
      const [source, sourceStat] = await client.read(`${root}/source`);
      const [target, targetStat] = await client.read(`${root}/target`);
      try {
        await client.commit((both) => both
          .setData(`${root}/source`, Buffer.from(`${Number(source) - 1}`), sourceStat.version)
          .setData(`${root}/target`, Buffer.from(`${Number(target) + 1}`), targetStat.version)
          .create(`${root}/moves/${name}-`, CreateMode.PERSISTENT_SEQUENTIAL));
        moved += 1;
      } catch (error) {
        code('BAD_VERSION')(error);
      }
      if (name === 'victim' && moved === 8) await hold();
    }
  },

  async own(client, root) {
    await client.create(`${root}/owned`, null, CreateMode.EPHEMERAL);
    await hold();
  },
};

const CHECKS = {
  async nodes_and_their_stats(client, root) {
    const path = `${root}/a`;
    assert.equal(await client.create(path, Buffer.from('one')), path);
    await assert.rejects(client.create(path), code('NODE_EXISTS'));
    await assert.rejects(client.create(`${root}/no/parent`), code('NO_NODE'));
    const [data, stat] = await client.read(path);
    assert.equal(data.toString(), 'one');
    assert.equal(stat.version, 0);
    assert.equal(hex(stat.czxid), hex(stat.mzxid));
    const after = await client.setData(path, Buffer.from('two!'), 0);
    assert.equal(after.version, 1);
    assert.equal(after.dataLength, 4);
    assert.ok(hex(after.mzxid) > hex(stat.mzxid));
    await assert.rejects(client.setData(path, Buffer.from('x'), 0), code('BAD_VERSION'));
    for (const number of ['0000000000', '0000000001', '0000000002']) {
      assert.equal(await client.create(`${path}/s-`, null, CreateMode.PERSISTENT_SEQUENTIAL), `${path}/s-${number}`);
    }
    await assert.rejects(client.remove(path), code('NOT_EMPTY'));
    await client.create(`${root}/e`, null, CreateMode.EPHEMERAL);
    assert.equal(hex((await client.exists(`${root}/e`)).ephemeralOwner), client.session);
    await assert.rejects(client.create(`${root}/e/f`), code('NO_CHILDREN_FOR_EPHEMERALS'));
    assert.deepEqual((await client.getChildren(path)).sort(), ['s-0000000000', 's-0000000001', 's-0000000002']);
    await client.mkdirp(`${root}/x/y`);
    assert.deepEqual(await client.listSubTreeBFS(`${root}/x`), [`${root}/x`, `${root}/x/y`]);
    await client.removeRecursive(`${root}/x`);
    assert.equal(await client.exists(`${root}/x`), null);
  },

  async watches_fire_once(client, root) {
    const path = `${root}/w`;
    const [none, born] = await client.watched('exists', path);
    assert.equal(none, null);
    await client.create(path);
    const event = await soon('created', born);
    assert.deepEqual([event.getType(), event.getPath()], [Event.NODE_CREATED, path]);
    let fired = 0;
    await new Promise((resolve, reject) => {
      client.zk.getData(path, () => { fired += 1; }, (error) => (error ? reject(error) : resolve()));
    });
    const [, listed] = await client.watched('getChildren', path);
    await client.setData(path, Buffer.from('1'));
    await client.setData(path, Buffer.from('2'));
    await client.create(`${path}/x`);
    assert.equal((await soon('child', listed)).getType(), Event.NODE_CHILDREN_CHANGED);
    await client.remove(`${path}/x`);
    const [, gone] = await client.watched('exists', path);
    await client.remove(path);
    assert.equal((await soon('deleted', gone)).getType(), Event.NODE_DELETED);
    assert.equal(fired, 1);
  },

  async transactions_are_whole(client, root) {
    const path = `${root}/a`;
    const results = await client.commit((good) => good
      .create(path, Buffer.from('1'))
      .create(`${path}/b-`, CreateMode.PERSISTENT_SEQUENTIAL)
      .setData(path, Buffer.from('2'), 0)
      .check(path, 1));
    assert.equal(results.length, 4);
    assert.equal(results[1].path, `${path}/b-0000000000`);
    assert.equal(results[2].stat.version, 1);
    await assert.rejects(client.commit((bad) => bad
      .create(`${root}/gone`)
      .remove(results[1].path)
      .check(path, 9)), code('BAD_VERSION'));
    assert.equal(await client.exists(`${root}/gone`), null);
    assert.notEqual(await client.exists(results[1].path), null);
  },

  async access_is_checked(client, root) {
    const [owner, stranger] = [await Client.connect(), await Client.connect()];
    owner.zk.addAuthInfo('digest', Buffer.from('ann:secret'));
    stranger.zk.addAuthInfo('digest', Buffer.from('bob:other'));
    const path = `${root}/own`;
    await assert.rejects(client.create(path, null, ACL.CREATOR_ALL_ACL), code('INVALID_ACL'));
    await owner.create(path, Buffer.from('mine'), ACL.CREATOR_ALL_ACL);
    await assert.rejects(stranger.getData(path), code('NO_AUTH'));
    await assert.rejects(client.setData(path, Buffer.from('x')), code('NO_AUTH'));
    const acls = await owner.getACL(path);
    assert.equal(acls.length, 1);
    assert.match(acls[0].id.id, /^ann:/);
    const read = new ACL(Permission.READ, new Id('world', 'anyone'));
    assert.equal((await owner.setACL(path, [acls[0], read], 0)).aversion, 1);
    assert.equal((await stranger.getData(path)).toString(), 'mine');
    await assert.rejects(stranger.setData(path, Buffer.from('x')), code('NO_AUTH'));
    await owner.remove(path);
    await owner.close();
    await stranger.close();
  },

  async requests_in_flight_keep_their_order(client, root) {
    const creates = Array.from({ length: IN_FLIGHT }, () =>
      client.create(`${root}/n-`, null, CreateMode.PERSISTENT_SEQUENTIAL));
    (await Promise.all(creates)).forEach((path, due) => {
      assert.equal(path, `${root}/n-${String(due).padStart(10, '0')}`);
    });
    assert.equal((await client.getChildren(root)).length, IN_FLIGHT);
    const seen = [];
    for (let number = 0; number < 200; number += 1) {
      client.setData(root, Buffer.from(`${number}`));
      seen.push(client.number(root));
    }
    assert.deepEqual(await Promise.all(seen), seen.map((_, number) => number));
  },

  async lock_excludes(client, root) {
    await client.create(`${root}/lock`);
    await client.create(`${root}/count`, Buffer.from('0'));
    await compete('lock', root);
    assert.equal(await client.number(`${root}/count`), 15 + 15 + 5);
    assert.deepEqual(await client.getChildren(`${root}/lock`), []);
  },

  async transfers_keep_the_sum(client, root) {
    // The library's transactions take version 0 for any version, so both begin at version 1.
    for (const [name, sum] of [['source', '100'], ['target', '0']]) {
      await client.create(`${root}/${name}`);
      await client.setData(`${root}/${name}`, Buffer.from(sum));
    }
    await client.create(`${root}/moves`);
    await compete('transfer', root);
    assert.equal(await client.number(`${root}/source`), 100 - 58);
    assert.equal(await client.number(`${root}/target`), 58);
    assert.equal((await client.getChildren(`${root}/moves`)).length, 58);
  },

  async a_killed_process_loses_its_session(client, root) {
    const owner = new Worker('own', root, 'victim');
    await owner.expect('holding');
    const [stat, gone] = await client.watched('exists', `${root}/owned`);
    assert.notEqual(hex(stat.ephemeralOwner), client.session);
    const killed = Date.now();
    await owner.kill();
    assert.equal((await soon('deleted', gone)).getType(), Event.NODE_DELETED);
    assert.ok(Date.now() - killed > SESSION_MS / 3, 'expired far too early');
  },

  async a_cut_line_keeps_session_and_watches(client, root) {
    const cut = await Client.connect();
    const { session } = cut;
    await cut.create(`${root}/owned`, null, CreateMode.EPHEMERAL);
    const [, gone] = await client.watched('exists', `${root}/owned`);
    const [, born] = await cut.watched('exists', `${root}/born`);
    const back = once(cut.zk, 'connected');
    cut.zk.connectionManager.socket.destroy();
    await client.create(`${root}/born`);
    await soon('connected again', back);
    assert.equal((await soon('created', born)).getType(), Event.NODE_CREATED);
    assert.equal(cut.session, session);
    assert.equal(hex((await client.exists(`${root}/owned`)).ephemeralOwner), session);
    await cut.close();
    assert.equal((await soon('deleted', gone)).getType(), Event.NODE_DELETED);
  },

  async chroot_is_kept(client, root) {
    const inner = await Client.connect(root);
    const [, born] = await inner.watched('exists', '/x');
    await client.create(`${root}/x`);
    assert.equal((await soon('created', born)).getPath(), '/x');
    assert.deepEqual(await inner.getChildren('/'), ['x']);
    await inner.close();
  },
};

async function main(words) {
  if (words[0] === 'worker') {
    const client = await Client.connect();
    await WORK[words[1]](client, words[2], words[3]);
    await client.close();
    return;
  }
  const base = `/compat-node-${randomBytes(6).toString('hex')}`;
  const top = await Client.connect();
  await top.create(base);
  const chosen = Object.keys(CHECKS).filter((name) => words.length === 0 || words.includes(name));
  let failed = 0;
  await Promise.all(chosen.map(async (name) => {
    try {
      const client = await Client.connect();
      await client.create(`${base}/${name}`);
      await within(CHECK_LIMIT_MS, name, CHECKS[name](client, `${base}/${name}`));
      await client.close();
      console.log(`ok   ${name}`);
    } catch (error) {
      failed += 1;
      console.log(`FAIL ${name}\n${error.stack}`);
    }
  }));
  await top.clear(base);
  await top.close();
  console.log(`${chosen.length - failed} passed, ${failed} failed`);
  process.exit(failed > 0 || chosen.length === 0 ? 1 : 0);
}

main(process.argv.slice(2)).catch((error) => {
  console.error(error);
  process.exit(1);
});
