//! A configuration while it is being put together: settings go in one by one, [`Draft::finish`]
//! applies the rules that join them. Upstream: `QuorumPeerConfig.parseProperties`, whose order of
//! checks is kept, since operators see the first one that fails.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::four_letter_words::FourLetterWords;
use super::jvm_flags::JvmFlags;
use super::keys::{self, Origin, Row, Treatment};
use super::members::{self, Role};
use super::value::{HIDDEN, HostPort, Rejected, Setting};
use super::{Config, ConfigError, ConfigErrorKind, MetricsProvider, Notice, NoticeLevel};

const DIGEST_PROVIDER_SECRETS: &[&str] = &[
    "DigestAuthenticationProvider.superDigest",
    "SASLAuthenticationProvider.superPassword",
];

/// Settings so far, with what cannot be decided before all are known.
pub(super) struct Draft {
    pub(super) config: Config,
    pub(super) data_dir: Option<PathBuf>,
    pub(super) data_log_dir: Option<PathBuf>,
    pub(super) client_port: u16,
    pub(super) client_port_address: Option<String>,
    /// -1: to be computed from the tick.
    pub(super) min_session_timeout_ms: i64,
    /// -1: to be computed from the tick.
    pub(super) max_session_timeout_ms: i64,
    pub(super) extra_buffer_bytes: Option<u32>,
    pub(super) whitelist: String,
    /// `authProvider.X` names scheme digest, which brings it back when it was disabled.
    pub(super) digest_listed: bool,
    pub(super) metrics_class: String,
    pub(super) metrics_http: HostPort,
    pub(super) metrics_process: bool,
    pub(super) multi_address: bool,
    pub(super) quorum_sasl: QuorumSasl,
    /// What the operator should hear of.
    notices: Vec<Notice>,
}

/// `quorum.auth.*`, kept until all are read because their rules join them.
#[derive(Default)]
pub(super) struct QuorumSasl {
    pub(super) enabled: bool,
    pub(super) learner_requires: bool,
    pub(super) server_requires: bool,
}

impl Draft {
    pub(super) fn new() -> Self {
        Self {
            config: Config::default(),
            data_dir: None,
            data_log_dir: None,
            client_port: 0,
            client_port_address: None,
            min_session_timeout_ms: -1,
            max_session_timeout_ms: -1,
            extra_buffer_bytes: None,
            whitelist: String::new(),
            digest_listed: false,
            metrics_class: "org.apache.zookeeper.metrics.impl.DefaultMetricsProvider".to_owned(),
            metrics_process: true,
            metrics_http: HostPort {
                host: "0.0.0.0".to_owned(),
                port: 7000,
            },
            multi_address: false,
            quorum_sasl: QuorumSasl::default(),
            notices: Vec::new(),
        }
    }

    pub(super) fn warn(&mut self, key: &str, text: &str) {
        self.notice(NoticeLevel::Warn, key, text.to_owned());
    }

    fn notice(&mut self, level: NoticeLevel, key: &str, text: String) {
        self.notices.push(Notice {
            level,
            key: key.to_owned(),
            text,
        });
    }

    /// A boolean as upstream reads system properties; other words count as false, and are worth a
    /// word themselves.
    pub(super) fn lenient_bool(&mut self, setting: Setting<'_>) -> bool {
        if !setting.is_true() && !setting.text.eq_ignore_ascii_case("false") {
            self.warn(
                setting.key,
                &format!(
                    "{} is neither true nor false and counts as false",
                    setting.text
                ),
            );
        }
        setting.is_true()
    }

    /// A path as written; upstream warns of relative ones because they depend on where the server
    /// is started.
    pub(super) fn path(&mut self, setting: Setting<'_>) -> PathBuf {
        let path = PathBuf::from(setting.text);
        if path.is_relative() && !setting.text.starts_with("./") {
            self.warn(
                setting.key,
                &format!(
                    "{} is relative. Prepend ./ to indicate that you're sure!",
                    setting.text
                ),
            );
        }
        path
    }

    /// `-D` words, before the file so that the file wins.
    pub(super) fn take_flags(&mut self, flags: &JvmFlags) -> Result<(), ConfigError> {
        // Of equal names the last word alone counts, in what it sets and in what is said of it.
        let last: BTreeMap<&str, &str> = flags.properties().collect();
        for (name, text) in last {
            self.record(name, text);
            let key = name.strip_prefix("zookeeper.").unwrap_or(name);
            let Some(row) = keys::find(key) else { continue };
            let read_here = match row.origin {
                Origin::File => false,
                Origin::Property => name != key,
                Origin::Flag => name == key,
                Origin::Anywhere => true,
            };
            if read_here {
                self.set(row, Setting { key, text })
                    .map_err(|kind| ConfigError::in_key(&format!("-D{name}"), kind))?;
            } else if name != key {
                // A name without the prefix may be anybody's; one with it was meant for us.
                self.warn(
                    name,
                    "this property is not read by ZooKeeper; the setting belongs into zoo.cfg",
                );
            }
        }
        Ok(())
    }

    /// Entries of zoo.cfg.
    pub(super) fn take_file(
        &mut self,
        entries: &BTreeMap<String, String>,
    ) -> Result<(), ConfigError> {
        let has_dynamic_file = entries.contains_key("dynamicConfigFile");
        for (name, text) in entries {
            if members::is_member_key(name) {
                if has_dynamic_file {
                    let why =
                        format!("parameter: {name} must be in a separate dynamic config file");
                    return Err(ConfigError::invalid(why));
                }
                self.record(&format!("zookeeper.{name}"), text);
                continue;
            }
            let Some((key, row)) = self.resolve(name, entries) else {
                continue;
            };
            if row.origin != Origin::File {
                self.record(&property_name(key, row), text);
            }
            self.set(row, Setting { key, text })
                .map_err(|kind| ConfigError::in_key(name, kind))?;
        }
        Ok(())
    }

    /// The key that a name of zoo.cfg stands for, unless it stands for none or is overruled.
    fn resolve<'a>(
        &mut self,
        name: &'a str,
        entries: &BTreeMap<String, String>,
    ) -> Option<(&'a str, &'static Row)> {
        if let Some(row) = keys::find(name) {
            if row.origin == Origin::Flag {
                self.warn(name, "ZooKeeper reads this only as a -D word of SERVER_JVMFLAGS; it is taken all the same");
            }
            return Some((name, row));
        }
        // The guide heads many a property with its prefix; a key of the file itself never has one.
        let prefixless = name.strip_prefix("zookeeper.").unwrap_or(name);
        let key = keys::key_for_heading(prefixless).unwrap_or(prefixless);
        let row = keys::find(key).filter(|row| key != name && row.origin != Origin::File);
        let Some(row) = row else {
            self.record(&format!("zookeeper.{name}"), &entries[name]);
            self.warn(
                name,
                "this is no key of ZooKeeper 3.9; it only becomes a system property",
            );
            return None;
        };
        if entries.contains_key(key) {
            self.warn(
                name,
                &format!("this is another name of {key}, which is set too and wins"),
            );
            return None;
        }
        self.warn(
            name,
            &format!("ZooKeeper ignores this name; it is taken as {key}"),
        );
        Some((key, row))
    }

    fn set(&mut self, row: &Row, setting: Setting<'_>) -> Result<(), ConfigErrorKind> {
        match &row.treatment {
            Treatment::Honoured(honoured) => {
                (honoured.set)(self, setting).map_err(|rejected| match rejected {
                    Rejected::Invalid(why) => ConfigErrorKind::Invalid(why),
                    Rejected::Unsupported(why) => ConfigErrorKind::Unsupported(why),
                })
            }
            Treatment::Accepted { why } => {
                self.notice(
                    NoticeLevel::Info,
                    setting.key,
                    format!("accepted and without effect: {why}"),
                );
                Ok(())
            }
            Treatment::Refused { off, why } => {
                let is_off = off.iter().any(|off| off.eq_ignore_ascii_case(setting.text));
                if is_off {
                    Ok(())
                } else {
                    Err(ConfigErrorKind::Unsupported((*why).to_owned()))
                }
            }
        }
    }

    /// What the process would show as its system properties, without passwords.
    fn record(&mut self, property: &str, text: &str) {
        let key = property.strip_prefix("zookeeper.").unwrap_or(property);
        let is_secret =
            DIGEST_PROVIDER_SECRETS.contains(&key) || key.to_ascii_lowercase().contains("password");
        let shown = if is_secret { HIDDEN } else { text };
        self.config
            .system_properties
            .insert(property.to_owned(), shown.to_owned());
    }

    /// Member lines of the file, or of the dynamic file.
    pub(super) fn take_members(
        &mut self,
        entries: &BTreeMap<String, String>,
    ) -> Result<(), ConfigError> {
        let entries = entries
            .iter()
            .map(|(key, text)| (key.as_str(), text.as_str()));
        self.config.servers =
            members::parse(entries, self.multi_address).map_err(ConfigError::invalid)?;
        Ok(())
    }

    /// The content of `dataDir/myid`.
    pub(super) fn take_my_id(&mut self, content: &str) -> Result<(), ConfigError> {
        let line = content.lines().next().unwrap_or_default();
        let number: i64 = line
            .parse()
            .map_err(|_| ConfigError::invalid(format!("serverid {line} is not a number")))?;
        // The id is the top byte of session ids.
        let id = u8::try_from(number)
            .map_err(|_| ConfigError::invalid(format!("serverid {line} is not from 0 to 255")))?;
        self.config.my_id = Some(id);
        Ok(())
    }

    /// Rules among the settings of the static file.
    pub(super) fn check_static(&mut self) -> Result<(), ConfigError> {
        self.check_quorum_sasl()?;
        let data_dir = self
            .data_dir
            .clone()
            .ok_or_else(|| ConfigError::invalid("dataDir is not set"))?;
        self.config.data_log_dir = self
            .data_log_dir
            .clone()
            .unwrap_or_else(|| data_dir.clone());
        self.config.data_dir = data_dir;
        self.config.client_listen = self.client_listen()?;
        let tick_time_ms = i64::from(self.config.tick_time_ms);
        if tick_time_ms == 0 {
            return Err(ConfigError::invalid("tickTime is not set"));
        }
        let timeout = |asked: i64, ticks: i64| {
            if asked == -1 {
                tick_time_ms * ticks
            } else {
                asked
            }
        };
        let min = timeout(self.min_session_timeout_ms, 2);
        let max = timeout(self.max_session_timeout_ms, 20);
        if min > max {
            return Err(ConfigError::invalid(
                "minSessionTimeout must not be larger than maxSessionTimeout",
            ));
        }
        let fits = |timeout: i64| {
            u32::try_from(timeout).map_err(|_| ConfigError::invalid("session timeout out of range"))
        };
        self.config.min_session_timeout_ms = fits(min)?;
        self.config.max_session_timeout_ms = fits(max)?;
        self.config.metrics = self.metrics()?;
        self.config.extra_buffer_bytes = self
            .extra_buffer_bytes
            .unwrap_or_else(|| self.config.max_buffer_bytes.max(1024));
        self.config.auth.digest_enabled |= self.digest_listed;
        self.config.four_letter_words =
            FourLetterWords::parse(&self.whitelist, self.config.read_only_mode);
        Ok(())
    }

    fn check_quorum_sasl(&self) -> Result<(), ConfigError> {
        let QuorumSasl {
            enabled,
            learner_requires,
            server_requires,
        } = self.quorum_sasl;
        let without = |missing: &str, wanted: &str| {
            Err(ConfigError::invalid(format!(
                "quorum.auth.{missing} is disabled, so cannot enable quorum.auth.{wanted}"
            )))
        };
        match (enabled, learner_requires, server_requires) {
            (false, _, true) => without("enableSasl", "serverRequireSasl"),
            (false, true, false) => without("enableSasl", "learnerRequireSasl"),
            (true, false, true) => without("learnerRequireSasl", "serverRequireSasl"),
            (true, _, _) => {
                let why =
                    "SASL between servers is not there yet, and the quorum port would stand open"
                        .to_owned();
                Err(ConfigError::in_key(
                    "quorum.auth.enableSasl",
                    ConfigErrorKind::Unsupported(why),
                ))
            }
            (false, false, false) => Ok(()),
        }
    }

    fn client_listen(&self) -> Result<Option<HostPort>, ConfigError> {
        match (self.client_port, &self.client_port_address) {
            (0, Some(_)) => Err(ConfigError::invalid(
                "clientPortAddress is set but clientPort is not set",
            )),
            (0, None) => Ok(None),
            (port, address) => {
                let host = address.as_deref().unwrap_or("0.0.0.0");
                let host = host
                    .strip_prefix('[')
                    .and_then(|host| host.strip_suffix(']'))
                    .unwrap_or(host);
                Ok(Some(HostPort {
                    host: host.to_owned(),
                    port,
                }))
            }
        }
    }

    fn metrics(&self) -> Result<MetricsProvider, ConfigError> {
        match self.metrics_class.as_str() {
            "org.apache.zookeeper.metrics.impl.DefaultMetricsProvider" => {
                Ok(MetricsProvider::Default)
            }
            "org.apache.zookeeper.metrics.impl.NullMetricsProvider" => Ok(MetricsProvider::Null),
            "org.apache.zookeeper.metrics.prometheus.PrometheusMetricsProvider" => {
                Ok(MetricsProvider::Prometheus {
                    listen: self.metrics_http.clone(),
                    process: self.metrics_process,
                })
            }
            unknown => {
                let why = format!("metrics provider class was not found: {unknown}");
                Err(ConfigError::in_key(
                    "metricsProvider.className",
                    ConfigErrorKind::Invalid(why),
                ))
            }
        }
    }

    /// Rules among the members, once they are all known.
    pub(super) fn check_members(&mut self) -> Result<(), ConfigError> {
        let voters = self.config.voters().count();
        let observers = self.config.servers.len() - voters;
        let standalone_enabled = self.config.ensemble.standalone_enabled;
        match voters {
            0 if !standalone_enabled => {
                let why = "standaloneEnabled = false then number of participants should be >0";
                return Err(ConfigError::invalid(why));
            }
            0 if observers > 0 => {
                return Err(ConfigError::invalid(
                    "Observers w/o participants is an invalid configuration",
                ));
            }
            0 => {}
            1 if standalone_enabled => {
                self.warn(
                    "server",
                    "Invalid configuration, only one server specified (ignoring)",
                );
                if observers > 0 {
                    return Err(ConfigError::invalid(
                        "Observers w/o quorum is an invalid configuration",
                    ));
                }
            }
            1 | 2 => self.warn(
                "server",
                "No server failure will be tolerated. You need at least 3 servers.",
            ),
            even if even % 2 == 0 => {
                self.warn(
                    "server",
                    "Non-optimial configuration, consider an odd number of servers.",
                );
            }
            _ => {}
        }
        self.join_own_line()?;
        self.check_distributed()
    }

    /// What this server's own line says of its client port and its role.
    fn join_own_line(&mut self) -> Result<(), ConfigError> {
        let own = self.config.own_server().cloned();
        if let Some(dynamic) = own.as_ref().and_then(|own| own.client.clone()) {
            if let Some(fixed) = &self.config.client_listen {
                let agrees = if is_any(&fixed.host) {
                    fixed.port == dynamic.port
                } else {
                    *fixed == dynamic
                };
                if !agrees {
                    let id = own.map_or(0, |own| own.id);
                    return Err(ConfigError::invalid(format!(
                        "client address for this server (id = {id}) in static config file is {fixed} is different \
                         from client address found in dynamic file: {dynamic}"
                    )));
                }
            }
            self.config.client_listen = Some(dynamic);
        }
        let listed = own.map_or(Role::Participant, |own| own.role);
        let asked = self.config.ensemble.role;
        if listed != asked {
            let word = |role: Role| role.to_string().to_uppercase();
            let (listed, asked) = (word(listed), word(asked));
            self.warn(
                "peerType",
                &format!(
                    "Peer type from servers list ({listed}) doesn't match peerType ({asked}). Defaulting to servers list."
                ),
            );
        }
        self.config.ensemble.role = listed;
        Ok(())
    }

    fn check_distributed(&self) -> Result<(), ConfigError> {
        if !self.config.is_distributed() {
            return Ok(());
        }
        if self.config.ensemble.init_limit_ticks == 0 {
            return Err(ConfigError::invalid("initLimit is not set"));
        }
        if self.config.ensemble.sync_limit_ticks == 0 {
            return Err(ConfigError::invalid("syncLimit is not set"));
        }
        let my_id = self
            .config
            .my_id
            .ok_or_else(|| ConfigError::invalid("myid file is missing"))?;
        if self.config.own_server().is_none() {
            return Err(ConfigError::new(ConfigErrorKind::NotListed(my_id)));
        }
        if self.config.extended_types_enabled && my_id == u8::MAX {
            let why = "extendedTypesEnabled is true but Server ID is too large. Cannot be larger than 254";
            return Err(ConfigError::invalid(why));
        }
        Ok(())
    }

    pub(super) fn finish(self) -> (Config, Vec<Notice>) {
        (self.config, self.notices)
    }

    /// The four numbers of the short command line: `port dataDir [tickTime] [maxClientCnxns]`.
    pub(super) fn take_args(&mut self, args: &[String]) -> Result<(), ConfigError> {
        let keys = ["clientPort", "dataDir", "tickTime", "maxClientCnxns"];
        for (key, text) in keys.iter().zip(args) {
            let row =
                keys::find(key).ok_or_else(|| ConfigError::invalid(format!("{key} is no key")))?;
            self.set(row, Setting { key, text })
                .map_err(|kind| ConfigError::in_key(key, kind))?;
        }
        Ok(())
    }

    /// The dynamic file: members and nothing else. Its version is the suffix of its name.
    pub(super) fn take_dynamic(
        &mut self,
        path: &Path,
        entries: &BTreeMap<String, String>,
    ) -> Result<(), ConfigError> {
        if entries.contains_key("version") {
            return Err(ConfigError::invalid(
                "dynamic file shouldn't have version inside",
            ));
        }
        if let Some(unknown) = entries.keys().find(|key| !members::is_member_key(key)) {
            return Err(ConfigError::invalid(format!(
                "Unrecognised parameter: {unknown}"
            )));
        }
        let suffix = path
            .extension()
            .and_then(|suffix| suffix.to_str())
            .unwrap_or_default();
        self.config.ensemble.config_version = u64::from_str_radix(suffix, 16).unwrap_or(0);
        self.take_members(entries)
    }
}

fn is_any(host: &str) -> bool {
    matches!(host, "0.0.0.0" | "::" | "0:0:0:0:0:0:0:0")
}

fn property_name(key: &str, row: &Row) -> String {
    if row.origin == Origin::Flag {
        key.to_owned()
    } else {
        format!("zookeeper.{key}")
    }
}
