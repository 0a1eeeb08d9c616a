//! Keys that somebody may rely on for safety: the server does not start rather than leave them out.

use super::Absent::Default;
use super::Origin::{File, Flag, Property};
use super::{NO_SASL, NO_TLS, Row, accepted, honoured, refused};

const OFF: &[&str] = &["false"];
const NEVER: &[&str] = &[];

pub(super) const REFUSED: &[Row] = &[
    refused(File, &[("secureClientPort", "unset")], &["0"], NO_TLS),
    refused(File, &[("secureClientPortAddress", "unset")], NEVER, NO_TLS),
    refused(
        File,
        &[
            ("sslQuorum", "false"),
            ("portUnification", "false"),
            ("sslQuorumReloadCertFiles", "false"),
        ],
        OFF,
        NO_TLS,
    ),
    refused(
        Property,
        &[
            ("client.portUnification", "false"),
            ("client.certReload", "false"),
        ],
        OFF,
        NO_TLS,
    ),
    refused(
        Property,
        &[
            ("admin.portUnification", "false"),
            ("admin.forceHttps", "false"),
            ("admin.needClientAuth", "false"),
        ],
        OFF,
        NO_TLS,
    ),
    refused(
        Property,
        &[("ssl.*", "see ZooKeeper's guide")],
        NEVER,
        NO_TLS,
    ),
    refused(
        Property,
        &[
            ("netty.server.earlyDropSecureConnectionHandshakes", "false"),
            ("netty.advancedFlowControl.enabled", "false"),
        ],
        OFF,
        NO_TLS,
    ),
    refused(
        Property,
        &[("netty.server.outstandingHandshake.limit", "-1")],
        &["-1"],
        NO_TLS,
    ),
    refused(
        Property,
        &[("X509AuthenticationProvider.superUser", "unset")],
        NEVER,
        NO_TLS,
    ),
    refused(
        Flag,
        &[("java.security.auth.login.config", "unset")],
        NEVER,
        NO_SASL,
    ),
    refused(
        Property,
        &[
            ("superUser", "unset"),
            ("superUser.*", "unset"),
            ("letAnySaslUserDoX", "unset"),
            ("SASLAuthenticationProvider.superPassword", "unset"),
            ("sasl.serverconfig", "Server"),
        ],
        NEVER,
        NO_SASL,
    ),
    refused(
        Property,
        &[
            ("sessionRequireClientSASLAuth", "false"),
            ("allowSaslFailedClients", "false"),
        ],
        OFF,
        NO_SASL,
    ),
    honoured(
        File,
        &[("quorum.auth.enableSasl", "false")],
        "true or false",
        Default("false"),
        "SASL between servers. Only false is taken.",
        |draft, setting| {
            draft.quorum_sasl.enabled = setting.strict_bool()?;
            Ok(())
        },
    ),
    honoured(
        File,
        &[("quorum.auth.learnerRequireSasl", "false")],
        "true or false",
        Default("false"),
        "Whether a server insists on SASL when it connects to another. Only false is taken.",
        |draft, setting| {
            draft.quorum_sasl.learner_requires = setting.strict_bool()?;
            Ok(())
        },
    ),
    honoured(
        File,
        &[("quorum.auth.serverRequireSasl", "false")],
        "true or false",
        Default("false"),
        "Whether a server insists on SASL when another connects. Only false is taken.",
        |draft, setting| {
            draft.quorum_sasl.server_requires = setting.strict_bool()?;
            Ok(())
        },
    ),
    refused(
        File,
        &[
            ("quorum.auth.learner.saslLoginContext", "QuorumLearner"),
            ("quorum.auth.server.saslLoginContext", "QuorumServer"),
            (
                "quorum.auth.kerberos.servicePrincipal",
                "zkquorum/localhost",
            ),
        ],
        NEVER,
        NO_SASL,
    ),
    refused(
        Property,
        &[("ensembleAuthName", "unset")],
        NEVER,
        "scheme ensemble is not served yet, and clients of another ensemble would be let in",
    ),
    refused(
        Property,
        &[("enforce.auth.enabled", "false")],
        OFF,
        "sessions cannot be made to authenticate yet, and those that do not would be let in",
    ),
    accepted(
        Property,
        &[("enforce.auth.schemes", "unset")],
        "enforce.auth.enabled is not on",
    ),
    refused(
        File,
        &[("oraclePath", "unset")],
        NEVER,
        "two servers with an outside judge are not served, and a wrong leader would lose writes",
    ),
];
