//! Names to addresses that may be connected to, at the moment of connecting: a name that led
//! outside when it was written into the configuration cannot lead inside later.

use std::net::SocketAddr;

use malote_core::web::is_public;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::Reach;

/// Most addresses of one name that are tried.
const ADDRESSES_MAX: usize = 16;

/// Looks names up by the system's resolver.
#[derive(Debug, Clone, Copy)]
pub(super) struct Resolver(pub(super) Reach);

/// The name leads inside.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the name leads to private addresses only")]
pub(super) struct Private;

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let reach = self.0;
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            Ok(Box::new(allowed(found, reach)?.into_iter()) as Addrs)
        })
    }
}

/// Of the addresses of a name those within reach.
///
/// # Errors
/// [`Private`] if there is none.
pub(super) fn allowed(
    found: impl Iterator<Item = SocketAddr>,
    reach: Reach,
) -> Result<Vec<SocketAddr>, Private> {
    let is_within = |address: &SocketAddr| match reach {
        Reach::Private => true,
        Reach::Public => is_public(address.ip()),
    };
    let within: Vec<SocketAddr> = found.filter(is_within).take(ADDRESSES_MAX).collect();
    if within.is_empty() {
        return Err(Private);
    }
    Ok(within)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        let address = |text: &&str| SocketAddr::new(text.parse().unwrap(), 0);
        texts.iter().map(address).collect()
    }

    #[test]
    fn of_a_name_s_addresses_only_the_public_ones_are_connected_to() {
        let found = addresses(&["10.0.0.1", "52.94.1.1", "::1", "2600:1f18::1"]);
        let within = allowed(found.clone().into_iter(), Reach::Public).unwrap();
        assert_eq!(within, addresses(&["52.94.1.1", "2600:1f18::1"]));
        let within = allowed(found.clone().into_iter(), Reach::Private).unwrap();
        assert_eq!(within, found);
    }

    #[test]
    fn a_name_with_private_addresses_alone_is_refused() {
        for text in ["127.0.0.1", "169.254.169.254", "::ffff:a00:1", "100.64.0.1"] {
            let found = addresses(&[text]);
            assert!(allowed(found.into_iter(), Reach::Public).is_err(), "{text}");
        }
    }
}
