//! Listeners with `role = "bounce"`: the keys that only they have, and the address that they give
//! to deliveries.

use malote_core::address::parse_domain;
use malote_core::fault::ConfigFault;
use malote_core::id::{DeliveryId, MessageId};
use malote_core::returned::{ReturnAddress, ReturnPath, ReturnPurpose};
use malote_core::secret::{Secret, SecretSource, fetch, fetch_required};
use malote_core::ticket::{TICKET_SECRET_BYTES_MIN, Ticket, TicketKeys};

use super::{ListenerConfig, Role, SmtpConfig};

impl SmtpConfig {
    /// The domain that mail comes back to, if a listener takes it; fetches the secrets and adds
    /// what is wrong to `faults`. Several such listeners are doors to the same domain.
    pub fn return_path(&self, path: &str, faults: &mut Vec<ConfigFault>) -> Option<ReturnPath> {
        let listeners = self.listeners.iter().enumerate();
        let mut bounces = listeners.filter(|(_, listener)| listener.role == Role::Bounce);
        let (first, listener) = bounces.next()?;
        let own = listener.return_path(&format!("{path}.listeners[{first}]"), faults);
        for (index, other) in bounces {
            let at = format!("{path}.listeners[{index}]");
            let other = other.return_path(&at, faults);
            let is_same = own
                .as_ref()
                .zip(other.as_ref())
                .is_none_or(|(a, b)| is_same(a, b));
            if !is_same {
                let message = format!(
                    "takes mail for another domain or secret than {path}.listeners[{first}]: \
                     deliveries have one return address"
                );
                faults.push(ConfigFault::error(format!("{at}.verp_domain"), message));
            }
        }
        own
    }
}

/// Whether both sign alike.
fn is_same(one: &ReturnPath, other: &ReturnPath) -> bool {
    one.address(SAMPLE) == other.address(SAMPLE)
}

/// An address of no delivery, to try a domain and its keys on.
const SAMPLE: ReturnAddress = ReturnAddress {
    purpose: ReturnPurpose::Bounce,
    ticket: Ticket {
        delivery: DeliveryId {
            message: MessageId::from_bytes([0; 16]),
            index: 0,
        },
        attempt: 0,
    },
};

impl ListenerConfig {
    /// That the keys given are those of its role.
    pub(super) fn check_role(&self, at: &str, faults: &mut Vec<ConfigFault>) {
        let mut refuse = |key: &str, message: &str| {
            faults.push(ConfigFault::error(format!("{at}.{key}"), message));
        };
        match self.role {
            Role::Bounce if self.anonymous.is_some() => {
                refuse(
                    "anonymous",
                    "has no meaning with role = \"bounce\": nobody submits there",
                );
            }
            Role::Bounce if self.trusted_plaintext => {
                let message = "has no meaning with role = \"bounce\": nobody logs in there";
                refuse("trusted_plaintext", message);
            }
            Role::Bounce => {}
            Role::Submission => {
                for (key, is_given) in [
                    ("verp_domain", self.verp_domain.is_some()),
                    ("verp_secret", self.verp_secret.is_some()),
                    ("verp_secret_env", self.verp_secret_env.is_some()),
                    ("verp_secret_file", self.verp_secret_file.is_some()),
                    ("verp_secret_previous", self.verp_secret_previous.is_some()),
                    (
                        "verp_secret_previous_env",
                        self.verp_secret_previous_env.is_some(),
                    ),
                    (
                        "verp_secret_previous_file",
                        self.verp_secret_previous_file.is_some(),
                    ),
                ] {
                    if is_given {
                        refuse(key, "is for listeners with role = \"bounce\"");
                    }
                }
            }
        }
    }

    fn return_path(&self, at: &str, faults: &mut Vec<ConfigFault>) -> Option<ReturnPath> {
        let domain = match self.verp_domain.as_deref().map(parse_domain) {
            Some(Ok(domain)) => Some(domain),
            Some(Err(_)) => {
                let path = format!("{at}.verp_domain");
                faults.push(ConfigFault::error(path, "is not a domain name"));
                None
            }
            None => {
                let message = "is missing: the domain whose MX is this listener";
                faults.push(ConfigFault::error(format!("{at}.verp_domain"), message));
                None
            }
        };
        let current = SecretSource {
            field: "verp_secret",
            literal: self.verp_secret.as_ref().map(Secret::expose),
            env: self.verp_secret_env.as_deref(),
            file: self.verp_secret_file.as_deref(),
        };
        let previous = SecretSource {
            field: "verp_secret_previous",
            literal: self.verp_secret_previous.as_ref().map(Secret::expose),
            env: self.verp_secret_previous_env.as_deref(),
            file: self.verp_secret_previous_file.as_deref(),
        };
        let current = fetch_required(at, &current, faults);
        let previous = fetch(at, &previous, faults);
        let keys = [
            ("verp_secret", &current),
            ("verp_secret_previous", &previous),
        ];
        for (key, secret) in keys {
            let bytes = secret.as_ref().map(|secret| secret.expose().len());
            if bytes.is_some_and(|bytes| bytes < TICKET_SECRET_BYTES_MIN) {
                let message = format!("must have at least {TICKET_SECRET_BYTES_MIN} octets");
                faults.push(ConfigFault::error(format!("{at}.{key}"), message));
            }
        }
        let keys = TicketKeys::new(current?, previous.into_iter().collect());
        let path = ReturnPath {
            domain: domain?,
            keys,
        };
        if path.address(SAMPLE).is_none() {
            let message = "is too long for an address of 254 octets";
            faults.push(ConfigFault::error(format!("{at}.verp_domain"), message));
        }
        Some(path)
    }
}
