//! Random scripts: few paths, so that requests meet; all opcodes; right and wrong arguments.
//!
//! What the protocol leaves to chance is not generated, or two real servers would differ: requests
//! that are answered outside the queue stand alone in their write, nothing follows a closeSession,
//! and with enforced quotas (checked against what is applied so far) each write has one request.
//! Neither is anything that stops a real server: see `ORACLE.md`. For servers that form an ensemble
//! there is no write that cannot be read either, because a real one never answers it, and no
//! reconfig that could succeed.

use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::script::{Script, Step};
use crate::server::SUPER_AUTH;
use crate::wire::{
    Acl, Blob, Connect, List, Request, Value, ZxidValue, code, open_acl, spec, spec_named,
};

/// Requests in one write, at most.
const PIPELINE_MAX: usize = 8;
const SESSIONS: [&str; 4] = ["a", "b", "c", "d"];
/// This session holds the super user's rights.
const SUPER: &str = "d";

const PATHS: [&str; 14] = [
    "/a", "/b", "/c", "/a/x", "/a/y", "/b/x", "/a/x/p", "/a/x/q", "/b/x/p", "/e", "/e/x", "/a",
    "/a/x", "/b",
];
/// Not in the root, whose counter outlives a script.
const SEQUENTIAL: [&str; 3] = ["/a/", "/a/s-", "/b/x/s-"];
const SPECIAL: [&str; 6] = [
    "/",
    "/",
    "/zookeeper",
    "/zookeeper/config",
    "/zookeeper/quota",
    "/zookeeper/x",
];
const BAD: [&[u8]; 20] = [
    b"",
    b"a",
    b"/a/",
    b"//",
    b"/a//x",
    b"/./a",
    b"/a/.",
    b"/a/..",
    b"/..",
    b"/a\0",
    b"/a/\x01",
    b"/a/\x7f",
    b"/\xc2\xa0",
    b"/\xee\x80\x80",
    b"/\xef\xbb\xbf",
    b"/a/\xf0\x9f\x98\x80",
    b"/\xff\xfe",
    b"/a/ ",
    b"/..x",
    b"/missing/x/",
];
const IDENTITIES: [&str; 3] = ["bob:secret", "alice:pw", "bob:other"];
/// `bob:secret` and `alice:pw`, hashed.
const DIGESTS: [&str; 2] = [
    "bob:fyVmFCwVbTJYrznoSu1koqYEYF0=",
    "alice:V55/p2T0OpjQ+low3NVAH4aLvm0=",
];
/// Configurations and how often of ten scripts each comes.
const CONFIGS: [(&[&str], u32); 5] = [
    (&[], 6),
    (&["enforceQuota=true"], 1),
    (&["reconfigEnabled=true"], 1),
    (&["extendedTypesEnabled=false"], 1),
    (&["skipACL=yes"], 1),
];

/// A script of about so many requests, for servers that stand alone or for those that are
/// `together` with others. The same arguments give the same script.
pub fn script(seed: u64, index: u64, requests: usize, together: bool) -> Script {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(index);
    let config = CONFIGS
        .choose_weighted(&mut rng, |config| config.1)
        .map_or(&[][..], |config| config.0);
    let pipeline_max = if config.contains(&"enforceQuota=true") {
        1
    } else {
        PIPELINE_MAX
    };
    let mut generator = Generator {
        rng,
        steps: Vec::new(),
        pipeline_max,
        together,
    };
    generator.start();
    let mut count = 0;
    while count < requests {
        let from = generator.steps.len();
        generator.step();
        count += generator.steps[from..]
            .iter()
            .map(|step| step.requests().len().max(1))
            .sum::<usize>();
    }
    let config = config.iter().map(|line| (*line).to_owned()).collect();
    Script {
        config,
        steps: generator.steps,
    }
}

struct Generator {
    rng: ChaCha8Rng,
    steps: Vec<Step>,
    pipeline_max: usize,
    together: bool,
}

impl Generator {
    fn start(&mut self) {
        for session in SESSIONS {
            self.steps.push(open(session));
        }
        self.send("b", vec![auth("digest", IDENTITIES[0].as_bytes())]);
        self.send(SUPER, vec![auth("digest", SUPER_AUTH)]);
    }

    fn chance(&mut self, percent: u32) -> bool {
        self.rng.random_ratio(percent, 100)
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.rng.random_range(0..from.len())].clone()
    }

    fn send(&mut self, session: &str, mut requests: Vec<Request>) {
        if self.together {
            requests.retain(is_answered_together);
        }
        if requests.is_empty() {
            return;
        }
        self.steps.push(Step::Send {
            session: session.to_owned(),
            requests,
        });
    }

    fn attach(&mut self, session: &str) {
        let zxid = if self.chance(50) {
            ZxidValue::Seen(0)
        } else {
            ZxidValue::At(0)
        };
        let mut requests = Vec::new();
        if self.chance(50) {
            requests.push(self.set_watches());
        }
        let connect = Connect {
            zxid,
            ..Connect::default()
        };
        self.steps.push(Step::Attach {
            session: session.to_owned(),
            connect,
            requests,
        });
        if session == SUPER {
            self.send(SUPER, vec![auth("digest", SUPER_AUTH)]);
        }
    }

    fn step(&mut self) {
        let session = self.pick(&["a", "a", "a", "b", "b", "c", "c", SUPER]);
        match self.rng.random_range(0..100) {
            0..2 => {
                self.steps.push(Step::Drop {
                    session: session.to_owned(),
                });
                if self.chance(60) {
                    let work = self.pipeline();
                    let other = self.pick(&["a", "b", "c"]);
                    self.send(other, work);
                }
                self.attach(session);
            }
            2 => self.attach(session),
            3..5 => {
                self.send(session, vec![Request::new(code::CLOSE_SESSION)]);
                self.steps.push(open(session));
                if session == SUPER {
                    self.send(SUPER, vec![auth("digest", SUPER_AUTH)]);
                }
            }
            5 => {
                let request = self.closing();
                self.send(session, vec![request]);
                self.attach(session);
            }
            6..8 => {
                let identity = self.pick(&IDENTITIES);
                let scheme = self.pick(&["digest", "digest", "digest", "ip"]);
                self.send(session, vec![auth(scheme, identity.as_bytes())]);
            }
            8 => self.send(session, vec![Request::named("sasl")]),
            9..11 => {
                let requests = self.quota();
                requests
                    .into_iter()
                    .for_each(|request| self.send(session, vec![request]));
            }
            11..13 => {
                // Opens again what earlier steps may have locked.
                let path = self.path();
                self.send(SUPER, vec![Request::named("setACL")]);
                self.send(SUPER, vec![Request::named("setACL").with("path", path)]);
            }
            _ => {
                let requests = self.pipeline();
                self.send(session, requests);
            }
        }
    }

    fn pipeline(&mut self) -> Vec<Request> {
        let count = self.rng.random_range(1..=self.pipeline_max);
        let mut requests: Vec<Request> = (0..count).map(|_| self.request()).collect();
        // A real server judges a write by the ACLs that are applied, not by a setACL before it.
        if let Some(place) = requests
            .iter()
            .position(|request| request.code == code::SET_ACL)
        {
            requests.truncate(place + 1);
        }
        requests
    }

    /// A request that ends its connection.
    fn closing(&mut self) -> Request {
        match self.rng.random_range(0..4) {
            0 => auth("world", b"anyone"),
            1 => auth("nobody", b"x"),
            2 => {
                let path = self.path();
                Request::named("check").with("path", path)
            }
            _ => Request::new(self.pick(&[10, 23, 50, 99, 108, 999, 0, -1, i32::MAX, i32::MIN])),
        }
    }

    fn request(&mut self) -> Request {
        let mut request = match self.rng.random_range(0..100) {
            0..20 => self.create(false),
            20..30 => self.versioned("delete"),
            30..40 => {
                let data = self.data();
                self.versioned("setData").with("data", data)
            }
            40..44 => self.set_acl(),
            44..54 => self.multi(),
            54..57 => self.multi_read(),
            57..61 => self.add_watch(),
            61..64 => {
                let name = self.pick(&["removeWatches", "checkWatches"]);
                let kind = self.pick(&[1, 2, 3, 4, 5, 1, 2, 3, 4, 5, 0, 6]);
                self.on_path(name).with("type", Value::Int(kind))
            }
            64..66 => self.set_watches(),
            66..68 => {
                let prefix = self.pick(&[
                    Blob::text("/"),
                    Blob::text("/a"),
                    Blob::text(""),
                    Blob::Null,
                ]);
                Request::named("getEphemerals").with("path", Value::Blob(prefix))
            }
            68..70 => self.on_path("getAllChildrenNumber"),
            70 => Request::named("whoAmI"),
            71 => self.reconfig(),
            72 => Request::new(code::PING),
            73 => self.on_path("sync"),
            74..76 => self.on_path("getACL"),
            _ => {
                let name =
                    self.pick(&["exists", "exists", "getData", "getChildren", "getChildren2"]);
                let watch = self.pick(&[0, 1, 1, 1, 7]);
                self.on_path(name).with("watch", Value::Byte(watch))
            }
        };
        match self.rng.random_range(0..100) {
            0 | 1 => request.cut = self.rng.random_range(1..30),
            2 => request.extra = vec![0; self.rng.random_range(1..9)],
            3 => request.xid = Some(self.pick(&[0, -5, i32::MAX, i32::MIN, 7])),
            _ => {}
        }
        request
    }

    fn on_path(&mut self, name: &str) -> Request {
        let path = self.path();
        Request::named(name).with("path", path)
    }

    fn versioned(&mut self, name: &str) -> Request {
        let version = self.pick(&[-1, -1, -1, -1, 0, 0, 1, 2, 3, -2, i32::MAX, i32::MIN]);
        self.on_path(name).with("version", Value::Int(version))
    }

    fn path(&mut self) -> Value {
        Value::Blob(match self.rng.random_range(0..100) {
            0..8 => {
                let number = self.rng.random_range(0..12);
                Blob::text(&format!("{}{number:010}", self.pick(&SEQUENTIAL)))
            }
            8..14 => Blob::text(self.pick(&SPECIAL)),
            14..17 => Blob::Bytes(self.pick(&BAD).to_vec()),
            17 => self.pick(&[
                Blob::Null,
                Blob::Length(-2),
                Blob::Length(i32::MAX),
                Blob::Length(50),
            ]),
            _ => Blob::text(self.pick(&PATHS)),
        })
    }

    fn data(&mut self) -> Value {
        Value::Blob(match self.rng.random_range(0..20) {
            0 => Blob::Null,
            1 => self.pick(&[Blob::Length(-7), Blob::Length(1 << 30)]),
            2 => Blob::Bytes(vec![b'x'; 3000]),
            3..8 => Blob::Bytes(Vec::new()),
            _ => {
                let length = self.rng.random_range(1..20);
                Blob::Bytes(vec![b'd'; length])
            }
        })
    }

    fn acl(&mut self) -> Value {
        let entry = |perms, scheme: &str, id: &str| Acl {
            perms,
            scheme: Blob::text(scheme),
            id: Blob::text(id),
        };
        let list = match self.rng.random_range(0..100) {
            0..70 => return Value::Acls(open_acl()),
            70..75 => vec![entry(31, "auth", "")],
            75..80 => vec![entry(1, "world", "anyone"), entry(31, "digest", DIGESTS[0])],
            80..84 => vec![
                entry(31, "digest", DIGESTS[0]),
                entry(31, "digest", DIGESTS[1]),
            ],
            84..87 => vec![entry(
                31,
                "ip",
                self.pick(&["127.0.0.1", "127.0.0.0/8", "10.0.0.1", "::1/64"]),
            )],
            87..90 => vec![entry(
                self.pick(&[1, 2, 4, 8, 16, 27, 0, 64, -1]),
                "world",
                "anyone",
            )],
            90..92 => vec![
                entry(31, "world", "anyone"),
                entry(31, "world", "anyone"),
                entry(1, "world", "anyone"),
            ],
            92 => return Value::Acls(List::Null),
            93 => vec![],
            94 => vec![entry(31, "world", "nobody")],
            95 => vec![entry(
                31,
                "digest",
                self.pick(&["a", "a:", ":b", "a:b:c", "", ":"]),
            )],
            96 => vec![entry(
                31,
                "ip",
                self.pick(&[
                    "127.0.0.1/33",
                    "",
                    "x",
                    "1.2.3",
                    "127.0.0.1/-1",
                    "127.0.0.1/",
                ]),
            )],
            97 => vec![entry(
                31,
                self.pick(&["sasl", "x509", "super", "nobody", ""]),
                "bob",
            )],
            98 => vec![Acl {
                perms: 31,
                scheme: Blob::Null,
                id: Blob::text("x"),
            }],
            _ => return Value::Acls(List::Length(self.pick(&[-5, 3, i32::MAX]))),
        };
        Value::Acls(List::Items(list))
    }

    fn set_acl(&mut self) -> Request {
        let acl = self.acl();
        self.versioned("setACL").with("acl", acl)
    }

    fn create(&mut self, in_multi: bool) -> Request {
        let name = self.pick(&[
            "create",
            "create",
            "create",
            "create2",
            "createContainer",
            "createTTL",
        ]);
        let mut flags = self.pick(&[0, 0, 0, 0, 1, 1, 1, 2, 3, 4, 5, 6, 7, -1]);
        let mut path = self.path();
        if (flags == 2 || flags == 3 || flags == 6) && self.chance(70) {
            path = Value::Blob(Blob::text(self.pick(&SEQUENTIAL)));
        }
        let (data, acl) = (self.data(), self.acl());
        let mut request = Request::named(name)
            .with("path", path)
            .with("data", data)
            .with("acl", acl);
        if name == "createTTL" {
            flags = self.pick(&[5, 5, 5, 6, 6, flags]);
            let mut ttl = self.pick(&[
                86_400_000,
                86_400_000,
                (1 << 40) - 1,
                1 << 40,
                0,
                -1,
                i64::MAX,
                i64::MIN,
            ]);
            // A negative ttl with another flag stops a real server at once and for ever.
            if !in_multi && !matches!(flags, 5 | 6) {
                ttl = ttl.max(0);
            }
            request = request.with("ttl", Value::Long(ttl));
        } else if name == "createContainer" && self.chance(70) {
            flags = 4;
        }
        request.with("flags", Value::Int(flags))
    }

    fn multi(&mut self) -> Request {
        let count = self.rng.random_range(0..5);
        let mut ops: Vec<Request> = (0..count)
            .map(|_| match self.rng.random_range(0..10) {
                0..5 => self.create(true),
                5..7 => self.versioned("delete"),
                7 | 8 => {
                    let data = self.data();
                    self.versioned("setData").with("data", data)
                }
                _ => self.versioned("check"),
            })
            .collect();
        if self.chance(4) {
            let name = self.pick(&["getData", "getChildren", "exists", "setACL"]);
            ops.push(self.on_path(name));
        }
        let mut request = Request::new(code::MULTI).with("ops", Value::Requests(ops));
        request.endless = self.chance(2);
        request
    }

    fn multi_read(&mut self) -> Request {
        let count = self.rng.random_range(0..5);
        let mut ops: Vec<Request> = (0..count)
            .map(|_| {
                let name = self.pick(&["getData", "getChildren"]);
                let watch = self.pick(&[0, 1]);
                self.on_path(name).with("watch", Value::Byte(watch))
            })
            .collect();
        if self.chance(5) {
            let name = self.pick(&["delete", "exists"]);
            ops.push(self.on_path(name));
        }
        Request::new(code::MULTI_READ).with("ops", Value::Requests(ops))
    }

    fn add_watch(&mut self) -> Request {
        let mode = self.pick(&[0, 0, 0, 1, 1, 1, 2, -1]);
        self.on_path("addWatch").with("mode", Value::Int(mode))
    }

    fn set_watches(&mut self) -> Request {
        let name = self.pick(&["setWatches", "setWatches2"]);
        let zxid = self.pick(&[
            ZxidValue::Seen(0),
            ZxidValue::Seen(-3),
            ZxidValue::Seen(-10),
            ZxidValue::At(0),
            ZxidValue::Seen(50),
        ]);
        let mut request = Request::named(name).with("zxid", Value::Zxid(zxid));
        let fields = spec_named(name).map_or(&[][..], |op| op.fields);
        for field in &fields[1..] {
            let list = if self.chance(3) {
                List::Null
            } else {
                let count = self.rng.random_range(0..3);
                List::Items((0..count).map(|_| Blob::text(self.pick(&PATHS))).collect())
            };
            request = request.with(field.name, Value::Blobs(list));
        }
        request
    }

    fn reconfig(&mut self) -> Request {
        let request = self.any_reconfig();
        match self.together {
            // Of a configuration that there never was.
            true => request.with("from", Value::Long(7)),
            false => request,
        }
    }

    fn any_reconfig(&mut self) -> Request {
        let member = "server.1=127.0.0.1:2888:3888;2181";
        let text = |text: &str| Value::Blob(Blob::text(text));
        let request = Request::named("reconfig");
        match self.rng.random_range(0..3) {
            0 => request,
            1 => request.with("joining", text(member)),
            _ => request
                .with("members", text(member))
                .with("from", Value::Long(7)),
        }
    }

    /// Sets or takes away a quota, with contents that a real server survives.
    fn quota(&mut self) -> Vec<Request> {
        let path = self.pick(&["/a", "/b", "/a/x"]);
        let node = format!("/zookeeper/quota{path}");
        let [limits, stats] = ["limits", "stats"].map(|kind| format!("{node}/zookeeper_{kind}"));
        let [count, bytes, hard_count, hard_bytes]: [i32; 4] =
            [0; 4].map(|_| self.pick(&[-1, 0, 1, 3, 10, 1000]));
        let mut content = format!("count={count},bytes={bytes}");
        if self.chance(60) {
            content.push_str(&format!(
                "=;byteHardLimit={hard_bytes};countHardLimit={hard_count}"
            ));
        }
        let content = match self.rng.random_range(0..10) {
            0 => Value::Blob(Blob::Null),
            1 => Value::Blob(Blob::text("rubbish")),
            _ => Value::Blob(Blob::text(&content)),
        };
        let null = || Value::Blob(Blob::Null);
        match self.rng.random_range(0..6) {
            0..3 => {
                let parent = "/zookeeper/quota/a";
                let mut requests = Vec::new();
                if path == "/a/x" {
                    requests.push(Request::named("create").path(parent).with("data", null()));
                }
                requests.push(Request::named("create").path(&node).with("data", null()));
                requests.push(Request::named("create").path(&limits).with("data", content));
                requests.push(Request::named("create").path(&stats));
                requests
            }
            3 => vec![
                Request::named("setData")
                    .path(&limits)
                    .with("data", content),
            ],
            4 => vec![
                Request::named("delete").path(&stats),
                Request::named("delete").path(&limits),
                Request::named("delete").path(&node),
            ],
            _ => vec![
                Request::named("getData")
                    .path(&stats)
                    .with("watch", Value::Byte(1)),
            ],
        }
    }
}

/// Not a write that a leader cannot read. A real one then has nothing to propose, so the server that
/// has forwarded the request waits for ever, and with it everything behind it on the connection.
fn is_answered_together(request: &Request) -> bool {
    let is_read = |request: &Request| {
        let name = spec(request.code).map_or("", |op| op.name);
        !name.starts_with("create")
            && !matches!(
                name,
                "delete" | "setData" | "setACL" | "multi" | "reconfig" | "check"
            )
    };
    is_read(request) || request.cut == 0 && !request.endless && is_readable(request)
}

/// Every length is followed by what it announces, and in a multi lists of rights are no null.
fn is_readable(request: &Request) -> bool {
    request.values.iter().all(|value| match value {
        Value::Blob(blob) => !matches!(blob, Blob::Length(_)),
        Value::Acls(List::Length(count)) => *count < 0,
        Value::Acls(List::Items(acls)) => acls.iter().all(|acl| {
            !matches!(acl.scheme, Blob::Length(_)) && !matches!(acl.id, Blob::Length(_))
        }),
        Value::Requests(requests) => requests.iter().all(|request| {
            let acl_is_null = request.values.contains(&Value::Acls(List::Null));
            !acl_is_null && is_readable(request)
        }),
        _ => true,
    })
}

fn open(session: &str) -> Step {
    Step::Open {
        session: session.to_owned(),
        connect: Connect::default(),
        requests: Vec::new(),
    }
}

fn auth(scheme: &str, credentials: &[u8]) -> Request {
    Request::new(code::AUTH)
        .with("scheme", Value::Blob(Blob::text(scheme)))
        .with("auth", Value::Blob(Blob::Bytes(credentials.to_vec())))
}
