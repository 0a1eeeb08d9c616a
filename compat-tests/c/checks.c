/*
 * What a user of the C client relies on, checked against the server named by ZK_CONNECT.
 *
 * Each check runs in a process of its own, some at a time, so that a crash or a hang of one is
 * its failure alone. Competing processes are started from this program again:
 * `checks worker KIND ROOT NAME`. The one named `victim` stops while it holds what the others
 * want, says so by a byte on stdout, and waits there to be killed.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <zookeeper/zookeeper.h>

enum {
    SESSION_MS = 4000,
    CONNECT_MS = 15000,
    PATIENCE_MS = 45000,
    CHECK_LIMIT_S = 80,
    AT_ONCE = 4,
    PATH_MAX_BYTES = 256,
    IN_FLIGHT = 2000,
};

static const char *program;
static char base[64];
static char root[PATH_MAX_BYTES];

static void fail(int line, const char *format, ...)
{
    va_list words;
    va_start(words, format);
    fprintf(stderr, "checks.c:%d: ", line);
    vfprintf(stderr, format, words);
    fputc('\n', stderr);
    va_end(words);
    exit(1);
}

#define WANT(truth) ((truth) ? (void)0 : fail(__LINE__, "not so: %s", #truth))
#define GIVES(call, code) gives(__LINE__, #call, (call), (code))
#define OK(call) GIVES(call, ZOK)

static void gives(int line, const char *call, int got, int wanted)
{
    if (got != wanted)
        fail(line, "%s gave %s, not %s", call, zerror(got), zerror(wanted));
}

static long now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000L + now.tv_nsec / 1000000L;
}

static void pause_ms(long ms)
{
    struct timespec span = { ms / 1000, ms % 1000 * 1000000L };
    nanosleep(&span, NULL);
}

#define UNTIL(truth)                                                                     \
    do {                                                                                 \
        long until_ms = now_ms() + PATIENCE_MS;                                          \
        while (!(truth)) {                                                               \
            if (now_ms() > until_ms)                                                     \
                fail(__LINE__, "never came true: %s", #truth);                           \
            pause_ms(10);                                                                \
        }                                                                                \
    } while (0)

/* A path below this check's root. Four live at once, enough for one call's arguments. */
static const char *at(const char *format, ...)
{
    static char paths[4][PATH_MAX_BYTES * 2];
    static unsigned turn;
    char *path = paths[turn++ % 4];
    char name[PATH_MAX_BYTES];
    va_list words;
    va_start(words, format);
    vsnprintf(name, sizeof name, format, words);
    va_end(words);
    snprintf(path, sizeof paths[0], "%s%s", root, name);
    return path;
}

/* What a watcher was told. One lock for all: events are few. */
struct seen {
    int count, type, state;
    char path[PATH_MAX_BYTES];
};
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;

static void watcher(zhandle_t *zh, int type, int state, const char *path, void *context)
{
    struct seen *seen = context;
    (void)zh;
    /* Changes of the connection are told to every watcher; only nodes are counted. */
    if (type == ZOO_SESSION_EVENT)
        return;
    pthread_mutex_lock(&lock);
    seen->count++;
    seen->type = type;
    seen->state = state;
    snprintf(seen->path, sizeof seen->path, "%s", path);
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

static int times(struct seen *seen)
{
    pthread_mutex_lock(&lock);
    int count = seen->count;
    pthread_mutex_unlock(&lock);
    return count;
}

static void session_watcher(zhandle_t *zh, int type, int state, const char *path, void *context)
{
    (void)zh, (void)type, (void)state, (void)path, (void)context;
}

static zhandle_t *connect_as(const clientid_t *id)
{
    zhandle_t *zh = zookeeper_init(getenv("ZK_CONNECT"), session_watcher, SESSION_MS, id, NULL, 0);
    WANT(zh != NULL);
    long until_ms = now_ms() + CONNECT_MS;
    while (zoo_state(zh) != ZOO_CONNECTED_STATE && zoo_state(zh) != ZOO_EXPIRED_SESSION_STATE) {
        WANT(now_ms() < until_ms);
        pause_ms(5);
    }
    return zh;
}

static void make(zhandle_t *zh, const char *path, const char *data)
{
    gives(__LINE__, path, zoo_create(zh, path, data, (int)strlen(data), &ZOO_OPEN_ACL_UNSAFE, 0, NULL, 0), ZOK);
}

static int number(zhandle_t *zh, const char *path)
{
    char data[32];
    int length = sizeof data - 1;
    OK(zoo_get(zh, path, 0, data, &length, NULL));
    WANT(length > 0);
    data[length] = '\0';
    return atoi(data);
}

static int children(zhandle_t *zh, const char *path)
{
    struct String_vector names;
    OK(zoo_get_children(zh, path, 0, &names));
    int count = names.count;
    deallocate_String_vector(&names);
    return count;
}

/* Plain requests */

static void nodes(zhandle_t *zh)
{
    char made[PATH_MAX_BYTES], data[64];
    struct Stat stat, after;
    int length = sizeof data;
    OK(zoo_create(zh, at("/a"), "one", 3, &ZOO_OPEN_ACL_UNSAFE, 0, made, sizeof made));
    WANT(strcmp(made, at("/a")) == 0);
    GIVES(zoo_create(zh, at("/a"), "", 0, &ZOO_OPEN_ACL_UNSAFE, 0, NULL, 0), ZNODEEXISTS);
    GIVES(zoo_create(zh, at("/no/parent"), "", 0, &ZOO_OPEN_ACL_UNSAFE, 0, NULL, 0), ZNONODE);
    OK(zoo_get(zh, at("/a"), 0, data, &length, &stat));
    WANT(length == 3 && memcmp(data, "one", 3) == 0);
    WANT(stat.czxid == stat.mzxid && stat.version == 0 && stat.ephemeralOwner == 0);
    OK(zoo_set2(zh, at("/a"), "two!", 4, 0, &after));
    WANT(after.version == 1 && after.czxid == stat.czxid && after.mzxid > stat.mzxid);
    GIVES(zoo_set(zh, at("/a"), "", 0, 0), ZBADVERSION);
    OK(zoo_create2(zh, at("/a/b"), "x", 1, &ZOO_OPEN_ACL_UNSAFE, 0, made, sizeof made, &stat));
    WANT(stat.dataLength == 1 && stat.czxid > after.mzxid);
    GIVES(zoo_delete(zh, at("/a"), -1), ZNOTEMPTY);
    GIVES(zoo_delete(zh, at("/a/b"), 3), ZBADVERSION);

    /* Data that is null is told apart from data that is empty. */
    OK(zoo_create(zh, at("/null"), NULL, -1, &ZOO_OPEN_ACL_UNSAFE, 0, NULL, 0));
    length = sizeof data;
    OK(zoo_get(zh, at("/null"), 0, data, &length, NULL));
    WANT(length == -1);
    make(zh, at("/empty"), "");
    length = sizeof data;
    OK(zoo_get(zh, at("/empty"), 0, data, &length, NULL));
    WANT(length == 0);

    OK(zoo_create(zh, at("/e"), "", 0, &ZOO_OPEN_ACL_UNSAFE, ZOO_EPHEMERAL, NULL, 0));
    OK(zoo_exists(zh, at("/e"), 0, &stat));
    WANT(stat.ephemeralOwner == zoo_client_id(zh)->client_id);
    GIVES(zoo_create(zh, at("/e/f"), "", 0, &ZOO_OPEN_ACL_UNSAFE, 0, NULL, 0), ZNOCHILDRENFOREPHEMERALS);
    for (int n = 1; n <= 3; n++) {
        OK(zoo_create(zh, at("/a/s-"), "", 0, &ZOO_OPEN_ACL_UNSAFE, ZOO_SEQUENCE, made, sizeof made));
        WANT(strcmp(made, at("/a/s-%010d", n)) == 0);
    }
    struct String_vector names;
    OK(zoo_get_children2(zh, at("/a"), 0, &names, &stat));
    WANT(names.count == 4 && stat.numChildren == 4 && stat.cversion == 4);
    deallocate_String_vector(&names);

    OK(zoo_create(zh, at("/container"), "", 0, &ZOO_OPEN_ACL_UNSAFE, ZOO_CONTAINER, NULL, 0));
    OK(zoo_create_ttl(zh, at("/ttl"), "", 0, &ZOO_OPEN_ACL_UNSAFE, ZOO_PERSISTENT_WITH_TTL, 60000, NULL, 0));
    GIVES(zoo_create_ttl(zh, at("/ttl0"), "", 0, &ZOO_OPEN_ACL_UNSAFE, ZOO_PERSISTENT_WITH_TTL, 0, NULL, 0), ZBADARGUMENTS);
}

static void watches(zhandle_t *zh)
{
    struct seen seen = { 0 }, listed = { 0 };
    struct String_vector names;
    char data[8];
    int length = sizeof data;
    GIVES(zoo_wexists(zh, at("/w"), watcher, &seen, NULL), ZNONODE);
    make(zh, at("/w"), "");
    UNTIL(times(&seen) == 1);
    WANT(seen.type == ZOO_CREATED_EVENT && strcmp(seen.path, at("/w")) == 0);
    OK(zoo_wget(zh, at("/w"), watcher, &seen, data, &length, NULL));
    OK(zoo_set(zh, at("/w"), "1", 1, -1));
    OK(zoo_set(zh, at("/w"), "2", 1, -1));
    UNTIL(times(&seen) == 2);
    WANT(seen.type == ZOO_CHANGED_EVENT);
    OK(zoo_wget_children(zh, at("/w"), watcher, &listed, &names));
    deallocate_String_vector(&names);
    make(zh, at("/w/x"), "");
    UNTIL(times(&listed) == 1);
    WANT(listed.type == ZOO_CHILD_EVENT);
    OK(zoo_delete(zh, at("/w/x"), -1));

    /* A watch taken back stays silent. */
    length = sizeof data;
    OK(zoo_wget(zh, at("/w"), watcher, &listed, data, &length, NULL));
    OK(zoo_remove_watches(zh, at("/w"), ZWATCHTYPE_DATA, watcher, &listed, 0));
    GIVES(zoo_remove_watches(zh, at("/w"), ZWATCHTYPE_DATA, watcher, &listed, 0), ZNOWATCHER);
    int before = times(&listed);
    OK(zoo_wexists(zh, at("/w"), watcher, &seen, NULL));
    OK(zoo_delete(zh, at("/w"), -1));
    UNTIL(times(&seen) == 3);
    WANT(seen.type == ZOO_DELETED_EVENT && times(&listed) == before);
}

static void multi(zhandle_t *zh)
{
    char first[PATH_MAX_BYTES], second[PATH_MAX_BYTES];
    char one[PATH_MAX_BYTES], child[PATH_MAX_BYTES], gone[PATH_MAX_BYTES];
    struct Stat stat;
    zoo_op_t ops[4];
    zoo_op_result_t results[4];
    snprintf(one, sizeof one, "%.200s/a", root);
    snprintf(child, sizeof child, "%.200s/a/b-", root);
    snprintf(gone, sizeof gone, "%.200s/gone", root);
    zoo_create_op_init(&ops[0], one, "1", 1, &ZOO_OPEN_ACL_UNSAFE, 0, first, sizeof first);
    zoo_create_op_init(&ops[1], child, "", 0, &ZOO_OPEN_ACL_UNSAFE, ZOO_SEQUENCE, second, sizeof second);
    zoo_set_op_init(&ops[2], one, "2", 1, 0, &stat);
    zoo_check_op_init(&ops[3], one, 1);
    OK(zoo_multi(zh, 4, ops, results));
    WANT(strcmp(first, one) == 0 && strcmp(second, at("/a/b-0000000000")) == 0);
    WANT(stat.version == 1 && stat.mzxid == stat.czxid);

    zoo_create_op_init(&ops[0], gone, "", 0, &ZOO_OPEN_ACL_UNSAFE, 0, NULL, 0);
    zoo_delete_op_init(&ops[1], second, -1);
    zoo_check_op_init(&ops[2], one, 9);
    zoo_delete_op_init(&ops[3], one, -1);
    GIVES(zoo_multi(zh, 4, ops, results), ZBADVERSION);
    GIVES(results[0].err, ZOK);
    GIVES(results[1].err, ZOK);
    GIVES(results[2].err, ZBADVERSION);
    GIVES(results[3].err, ZRUNTIMEINCONSISTENCY);
    GIVES(zoo_exists(zh, gone, 0, NULL), ZNONODE);
    OK(zoo_exists(zh, second, 0, NULL));
}

static void auth_done(int code, const void *context)
{
    struct seen *seen = (struct seen *)context;
    pthread_mutex_lock(&lock);
    seen->count++;
    seen->state = code;
    pthread_mutex_unlock(&lock);
}

static void authenticate(zhandle_t *zh, const char *identity)
{
    struct seen seen = { 0 };
    OK(zoo_add_auth(zh, "digest", identity, (int)strlen(identity), auth_done, &seen));
    UNTIL(times(&seen) == 1);
    OK(seen.state);
}

static void auth(zhandle_t *zh)
{
    zhandle_t *owner = connect_as(NULL), *stranger = connect_as(NULL);
    struct ACL_vector acl;
    struct Stat stat;
    char data[8];
    int length = sizeof data;
    authenticate(owner, "ann:secret");
    authenticate(stranger, "bob:other");
    GIVES(zoo_create(zh, at("/none"), "", 0, &ZOO_CREATOR_ALL_ACL, 0, NULL, 0), ZINVALIDACL);
    OK(zoo_create(owner, at("/own"), "mine", 4, &ZOO_CREATOR_ALL_ACL, 0, NULL, 0));
    GIVES(zoo_get(stranger, at("/own"), 0, data, &length, NULL), ZNOAUTH);
    GIVES(zoo_set(zh, at("/own"), "", 0, -1), ZNOAUTH);
    GIVES(zoo_create(zh, at("/own/x"), "", 0, &ZOO_OPEN_ACL_UNSAFE, 0, NULL, 0), ZNOAUTH);
    OK(zoo_get_acl(owner, at("/own"), &acl, &stat));
    WANT(acl.count == 1 && acl.data[0].perms == ZOO_PERM_ALL && stat.aversion == 0);
    WANT(strcmp(acl.data[0].id.scheme, "digest") == 0 && strncmp(acl.data[0].id.id, "ann:", 4) == 0);
    struct ACL both[2] = { acl.data[0], ZOO_READ_ACL_UNSAFE.data[0] };
    struct ACL_vector wider = { 2, both };
    OK(zoo_set_acl(owner, at("/own"), 0, &wider));
    GIVES(zoo_set_acl(owner, at("/own"), 0, &wider), ZBADVERSION);
    deallocate_ACL_vector(&acl);
    length = sizeof data;
    OK(zoo_get(stranger, at("/own"), 0, data, &length, NULL));
    WANT(length == 4 && memcmp(data, "mine", 4) == 0);
    GIVES(zoo_set(stranger, at("/own"), "", 0, -1), ZNOAUTH);
    OK(zoo_delete(owner, at("/own"), -1));
    zookeeper_close(owner);
    zookeeper_close(stranger);
}

/* Asynchronous requests: each completion takes its turn's number, which must be its own. */

static struct {
    int done, wrong;
} tally;

static void finish(int right)
{
    pthread_mutex_lock(&lock);
    tally.done++;
    tally.wrong += !right;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

static int finished(void)
{
    pthread_mutex_lock(&lock);
    int done = tally.done;
    pthread_mutex_unlock(&lock);
    return done;
}

static void created(int code, const char *path, const void *context)
{
    int turn = (int)(intptr_t)context;
    finish(code == ZOK && turn == tally.done &&
           atoi(path + strlen(path) - 10) == turn);
}

static void read_back(int code, const char *data, int length, const struct Stat *stat, const void *context)
{
    int turn = (int)(intptr_t)context;
    char text[16] = "";
    if (code == ZOK && length > 0 && length < (int)sizeof text)
        memcpy(text, data, length);
    finish(code == ZOK && atoi(text) == turn && stat->version == turn);
}

static void written(int code, const struct Stat *stat, const void *context)
{
    finish(code == ZOK && stat->version == (int)(intptr_t)context);
}

static void synced(int code, const char *path, const void *context)
{
    finish(code == ZOK && strcmp(path, context) == 0);
}

static void in_flight(zhandle_t *zh)
{
    char parent[PATH_MAX_BYTES];
    for (intptr_t turn = 0; turn < IN_FLIGHT; turn++)
        OK(zoo_acreate(zh, at("/n-"), "", 0, &ZOO_OPEN_ACL_UNSAFE, ZOO_SEQUENCE, created, (void *)turn));
    UNTIL(finished() == IN_FLIGHT);
    WANT(tally.wrong == 0);
    WANT(children(zh, root) == IN_FLIGHT);

    tally.done = 0;
    make(zh, at("/value"), "0");
    for (intptr_t turn = 1; turn <= IN_FLIGHT / 2; turn++) {
        char text[16];
        int length = snprintf(text, sizeof text, "%d", (int)turn);
        OK(zoo_aset(zh, at("/value"), text, length, (int)turn - 1, written, (void *)turn));
        OK(zoo_aget(zh, at("/value"), 0, read_back, (void *)turn));
    }
    UNTIL(finished() == IN_FLIGHT);
    WANT(tally.wrong == 0);

    tally.done = 0;
    snprintf(parent, sizeof parent, "%.200s", root);
    OK(zoo_async(zh, parent, synced, parent));
    UNTIL(finished() == 1);
    WANT(tally.wrong == 0);
}

/* Competing processes */

struct worker {
    pid_t pid;
    int said;
};

static struct worker start(const char *kind, const char *name)
{
    int ends[2];
    WANT(pipe2(ends, O_CLOEXEC) == 0);
    pid_t pid = fork();
    WANT(pid >= 0);
    if (pid == 0) {
        dup2(ends[1], STDOUT_FILENO);
        execl(program, program, "worker", kind, root, name, (char *)NULL);
        _exit(127);
    }
    close(ends[1]);
    return (struct worker){ pid, ends[0] };
}

static void say(char word)
{
    WANT(write(STDOUT_FILENO, &word, 1) == 1);
}

static void expect(struct worker worker, char word)
{
    char got;
    do {
        struct pollfd ready = { worker.said, POLLIN, 0 };
        WANT(poll(&ready, 1, PATIENCE_MS) == 1);
        WANT(read(worker.said, &got, 1) == 1);
    } while (got != word);
}

static void kill_it(struct worker worker)
{
    WANT(kill(worker.pid, SIGKILL) == 0);
    WANT(waitpid(worker.pid, NULL, 0) == worker.pid);
}

static void finish_it(struct worker worker)
{
    int status;
    expect(worker, 'f');
    WANT(waitpid(worker.pid, &status, 0) == worker.pid);
    WANT(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void hold(void)
{
    say('h');
    for (;;)
        pause();
}

/* Waits for the node just before ours to go; the lowest number holds the lock. */
static void wait_our_turn(zhandle_t *zh, const char *mine)
{
    for (;;) {
        char before[PATH_MAX_BYTES] = "";
        struct String_vector names;
        struct seen seen = { 0 };
        OK(zoo_get_children(zh, at("/lock"), 0, &names));
        for (int i = 0; i < names.count; i++)
            if (strcmp(names.data[i], mine) < 0 && strcmp(names.data[i], before) > 0)
                snprintf(before, sizeof before, "%s", names.data[i]);
        deallocate_String_vector(&names);
        if (before[0] == '\0')
            return;
        int code = zoo_wexists(zh, at("/lock/%.200s", before), watcher, &seen, NULL);
        if (code == ZNONODE)
            OK(zoo_remove_watches(zh, at("/lock/%.200s", before), ZWATCHTYPE_DATA, watcher, &seen, 1));
        else {
            OK(code);
            UNTIL(times(&seen) > 0);
        }
    }
}

static void work_lock(zhandle_t *zh, const char *name)
{
    for (int turn = 0; turn < 15; turn++) {
        char made[PATH_MAX_BYTES], text[16];
        OK(zoo_create(zh, at("/lock/l-"), "", 0, &ZOO_OPEN_ACL_UNSAFE, ZOO_EPHEMERAL | ZOO_SEQUENCE, made, sizeof made));
        wait_our_turn(zh, strrchr(made, '/') + 1);
        /* Fails with ZNODEEXISTS when a second process is inside. */
        OK(zoo_create(zh, at("/inside"), "", 0, &ZOO_OPEN_ACL_UNSAFE, ZOO_EPHEMERAL, NULL, 0));
        int length = snprintf(text, sizeof text, "%d", number(zh, at("/count")) + 1);
        OK(zoo_set(zh, at("/count"), text, length, -1));
        if (strcmp(name, "victim") == 0 && turn == 4)
            hold();
        OK(zoo_delete(zh, at("/inside"), -1));
        OK(zoo_delete(zh, made, -1));
    }
}

static void work_add(zhandle_t *zh, const char *name)
{
    for (int added = 0; added < 40;) {
        char data[16] = "", text[16];
        int length = sizeof data - 1;
        struct Stat stat;
        OK(zoo_get(zh, at("/count"), 0, data, &length, &stat));
        length = snprintf(text, sizeof text, "%d", atoi(data) + 1);
        int code = zoo_set(zh, at("/count"), text, length, stat.version);
        if (code == ZBADVERSION)
            continue;
        OK(code);
        if (++added == 10 && strcmp(name, "victim") == 0)
            hold();
    }
}

/* Owns a node and hands its session to whoever reads the id. */
static void work_own(zhandle_t *zh, const char *name)
{
    (void)name;
    OK(zoo_create(zh, at("/id"), (const char *)zoo_client_id(zh), sizeof(clientid_t), &ZOO_OPEN_ACL_UNSAFE, 0, NULL, 0));
    OK(zoo_create(zh, at("/owned"), "", 0, &ZOO_OPEN_ACL_UNSAFE, ZOO_EPHEMERAL, NULL, 0));
    hold();
}

static void three(const char *kind)
{
    struct worker first = start(kind, "first"), victim = start(kind, "victim"), third = start(kind, "third");
    expect(victim, 'h');
    kill_it(victim);
    finish_it(first);
    finish_it(third);
}

static void lock_excludes(zhandle_t *zh)
{
    make(zh, at("/lock"), "");
    make(zh, at("/count"), "0");
    three("lock");
    WANT(number(zh, at("/count")) == 15 + 15 + 5);
    WANT(children(zh, at("/lock")) == 0);
}

static void versions_lose_nothing(zhandle_t *zh)
{
    make(zh, at("/count"), "0");
    three("add");
    WANT(number(zh, at("/count")) == 40 + 40 + 10);
}

/* Sessions */

static void read_id(zhandle_t *zh, clientid_t *id)
{
    int length = sizeof *id;
    OK(zoo_get(zh, at("/id"), 0, (char *)id, &length, NULL));
    WANT(length == sizeof *id);
}

static void reattach(zhandle_t *zh)
{
    struct worker owner = start("own", "victim");
    struct seen seen = { 0 };
    struct Stat stat;
    clientid_t id;
    expect(owner, 'h');
    read_id(zh, &id);
    OK(zoo_wexists(zh, at("/owned"), watcher, &seen, &stat));
    WANT(stat.ephemeralOwner == id.client_id);

    clientid_t wrong = id;
    wrong.passwd[3] ^= 0x55;
    zhandle_t *thief = connect_as(&wrong);
    WANT(zoo_state(thief) == ZOO_EXPIRED_SESSION_STATE);
    zookeeper_close(thief);
    kill_it(owner);

    zhandle_t *heir = connect_as(&id);
    WANT(zoo_state(heir) == ZOO_CONNECTED_STATE && zoo_client_id(heir)->client_id == id.client_id);
    /* Past the timeout the heir's pings alone keep the session. */
    long ends_ms = now_ms() + SESSION_MS * 3 / 2;
    UNTIL(now_ms() > ends_ms);
    WANT(times(&seen) == 0);
    OK(zoo_exists(heir, at("/owned"), 0, NULL));
    OK(zookeeper_close(heir));
    UNTIL(times(&seen) == 1);
    WANT(seen.type == ZOO_DELETED_EVENT);
    zhandle_t *late = connect_as(&id);
    WANT(zoo_state(late) == ZOO_EXPIRED_SESSION_STATE);
    zookeeper_close(late);
}

static void stopped(zhandle_t *zh)
{
    struct worker owner = start("own", "victim");
    struct seen seen = { 0 };
    clientid_t id;
    expect(owner, 'h');
    read_id(zh, &id);
    OK(zoo_wexists(zh, at("/owned"), watcher, &seen, NULL));
    WANT(kill(owner.pid, SIGSTOP) == 0);
    long stopped_ms = now_ms();
    UNTIL(times(&seen) == 1);
    WANT(seen.type == ZOO_DELETED_EVENT && now_ms() - stopped_ms > SESSION_MS / 3);
    kill_it(owner);
    zhandle_t *late = connect_as(&id);
    WANT(zoo_state(late) == ZOO_EXPIRED_SESSION_STATE);
    zookeeper_close(late);
}

static void chroot_is_kept(zhandle_t *zh)
{
    char where[PATH_MAX_BYTES * 2], made[PATH_MAX_BYTES];
    struct seen seen = { 0 };
    snprintf(where, sizeof where, "%s%s", getenv("ZK_CONNECT"), root);
    zhandle_t *inner = zookeeper_init(where, session_watcher, SESSION_MS, NULL, NULL, 0);
    WANT(inner != NULL);
    UNTIL(zoo_state(inner) == ZOO_CONNECTED_STATE);
    GIVES(zoo_wexists(inner, "/x", watcher, &seen, NULL), ZNONODE);
    OK(zoo_create(inner, "/x", "", 0, &ZOO_OPEN_ACL_UNSAFE, 0, made, sizeof made));
    WANT(strcmp(made, "/x") == 0);
    UNTIL(times(&seen) == 1);
    WANT(strcmp(seen.path, "/x") == 0);
    OK(zoo_exists(zh, at("/x"), 0, NULL));
    zookeeper_close(inner);
}

static const struct {
    const char *name;
    void (*run)(zhandle_t *);
} checks[] = {
    { "a_session_outlives_its_process", reattach },
    { "a_stopped_process_loses_its_session", stopped },
    { "lock_excludes", lock_excludes },
    { "versions_lose_nothing", versions_lose_nothing },
    { "nodes_and_their_stats", nodes },
    { "watches_fire_once", watches },
    { "multi_is_whole", multi },
    { "access_is_checked", auth },
    { "requests_in_flight_keep_their_order", in_flight },
    { "chroot_is_kept", chroot_is_kept },
};
enum { CHECKS = sizeof checks / sizeof checks[0] };

static void clear(zhandle_t *zh, const char *path)
{
    struct String_vector names;
    if (zoo_get_children(zh, path, 0, &names) != ZOK)
        return;
    for (int i = 0; i < names.count; i++) {
        char child[PATH_MAX_BYTES * 2];
        snprintf(child, sizeof child, "%s/%s", path, names.data[i]);
        clear(zh, child);
    }
    deallocate_String_vector(&names);
    zoo_delete(zh, path, -1);
}

static pid_t begin(int index)
{
    pid_t pid = fork();
    WANT(pid >= 0);
    if (pid == 0) {
        setpgid(0, 0);
        alarm(CHECK_LIMIT_S);
        snprintf(root, sizeof root, "%s/%s", base, checks[index].name);
        zhandle_t *zh = connect_as(NULL);
        make(zh, root, "");
        checks[index].run(zh);
        zookeeper_close(zh);
        exit(0);
    }
    return pid;
}

int main(int count, char **words)
{
    WANT(getenv("ZK_CONNECT") != NULL);
    program = words[0];
    zoo_set_debug_level(0);
    if (count == 5 && strcmp(words[1], "worker") == 0) {
        snprintf(root, sizeof root, "%s", words[3]);
        zhandle_t *zh = connect_as(NULL);
        if (strcmp(words[2], "lock") == 0)
            work_lock(zh, words[4]);
        else if (strcmp(words[2], "add") == 0)
            work_add(zh, words[4]);
        else
            work_own(zh, words[4]);
        zookeeper_close(zh);
        say('f');
        return 0;
    }

    snprintf(base, sizeof base, "/compat-c-%lx-%x", now_ms(), getpid());
    /* The library's threads do not survive a fork: each child connects for itself. */
    zhandle_t *zh = connect_as(NULL);
    make(zh, base, "");
    zookeeper_close(zh);
    pid_t pids[CHECKS];
    int begun = 0, running = 0, passed = 0, failed = 0;
    while (passed + failed < CHECKS) {
        for (; begun < CHECKS && running < AT_ONCE; begun++, running++)
            pids[begun] = begin(begun);
        int status;
        pid_t ended = wait(&status);
        WANT(ended > 0);
        for (int i = 0; i < begun; i++)
            if (pids[i] == ended) {
                int right = WIFEXITED(status) && WEXITSTATUS(status) == 0;
                printf("%s %s%s\n", right ? "ok  " : "FAIL", checks[i].name,
                       WIFSIGNALED(status) ? " (ended by a signal)" : "");
                fflush(stdout);
                right ? passed++ : failed++;
                running--;
                /* Whatever workers a failed check left behind. */
                kill(-ended, SIGKILL);
            }
    }
    zh = connect_as(NULL);
    clear(zh, base);
    zookeeper_close(zh);
    printf("%d passed, %d failed\n", passed, failed);
    return failed != 0;
}
