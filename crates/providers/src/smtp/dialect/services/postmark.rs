//! Postmark by SMTP.

use malote_core::provider::Outgoing;

use crate::Documented;
use crate::correlation::Readers;
use crate::postmark::{self, track_links};
use crate::smtp::config::Protection;
use crate::smtp::dialect::fields::{Fields, Metadata};
use crate::smtp::dialect::{Defaults, Dialect, Host, MessageIdIn, PoolKey, User};

/// Postmark. It checks most of a message after it has taken it: what it then refuses comes back as
/// an event. At most ten connections are advised, both classes together.
pub(crate) static POSTMARK: Dialect = Dialect {
    name: "postmark",
    host: Host::ByRegion(&[
        ("transactional", "smtp.postmarkapp.com"),
        ("broadcast", "smtp-broadcasts.postmarkapp.com"),
    ]),
    // There is no port for implicit TLS.
    tls: Protection::StartTls,
    user: User::Token,
    bounds: Defaults {
        recipients_max: 50,
        message_bytes_max: 10_000_000,
        connections_max: 5,
        ..Defaults::PLAIN
    },
    keeps_mail_from: false,
    judges_domain_at_mail: false,
    pool_key: Some(PoolKey {
        name: "message_stream",
        value: |pool| pool.message_stream.as_deref(),
        bytes_max: 128,
    }),
    fields,
    tracking: postmark::TRACKING,
    rules: &[],
    by_message: None,
    message_id: MessageIdIn::Reply,
    documented: DOCUMENTED,
};

/// Support article "Custom metadata FAQ": taken out before delivery.
const METADATA: Metadata = Metadata {
    readers: Readers::Service,
    name_bytes_max: 20,
    value_bytes_max: 80,
    pairs_max: 10,
    bytes_max: 1000,
};

/// Developer guide, "Sending email with SMTP".
fn fields(fields: &mut Fields<'_>, outgoing: &Outgoing, message_stream: Option<&str>) {
    if let Some(stream) = message_stream {
        fields.set("X-PM-Message-Stream", stream);
    }
    fields.set("X-PM-KeepID", "true");
    if let Some(opens) = outgoing.tracking.opens {
        fields.set("X-PM-TrackOpens", if opens { "true" } else { "false" });
    }
    if let Some(clicks) = outgoing.tracking.clicks {
        fields.set("X-PM-TrackLinks", track_links(clicks));
    }
    if let Some(tag) = outgoing.tags.first() {
        fields.set("X-PM-Tag", tag);
    }
    for (name, value) in METADATA.pairs(outgoing) {
        fields.set(&format!("X-PM-Metadata-{name}"), &value);
    }
}

const DOCUMENTED: &[Documented] = &[Documented::new(
    535,
    "AUTH: 5.7.8 Authentication credentials invalid",
    "provider_unusable",
    "RFC 4954 6: a token that is not the server's, or SMTP not enabled for it",
)];
