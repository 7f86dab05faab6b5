//! Detects a provider's base URL that is one of our own listeners: every request would come back;
//! pure.

use std::net::{IpAddr, SocketAddr};

use url::{Host, Url};

use super::{Config, Listener, ProviderName};

/// A provider's `base_url` is a listener of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`providers.{provider}.base_url` is {base_url}, which is hermes-proxyd's own listener \
     {listener}: every request would loop; name the provider's own URL there, or another `address` \
     under [[listen]]"
)]
pub struct OwnListenerError {
    provider: ProviderName,
    base_url: Box<Url>,
    listener: SocketAddr,
}

impl Config {
    /// Refuses a provider whose `base_url` is a listener of ours. It needs the final settings: the
    /// command line may have moved a listener. An indirect loop is found at run time.
    ///
    /// # Errors
    /// The first such provider.
    pub fn without_own_listeners(self) -> Result<Self, OwnListenerError> {
        let found = self.providers.iter().find_map(|(name, settings)| {
            let base_url = settings.base_url.as_ref()?;
            let mut listeners = self.listeners.iter().filter_map(Listener::ip_address);
            let listener = listeners.find(|listener| is_at(base_url, *listener))?;
            Some(OwnListenerError {
                provider: name.clone(),
                base_url: Box::new(base_url.clone()),
                listener,
            })
        });
        found.map_or(Ok(self), Err)
    }
}

fn is_at(base_url: &Url, listener: SocketAddr) -> bool {
    let ours = listener.ip().to_canonical();
    let reached = |host: IpAddr| {
        let host = host.to_canonical();
        // A listener on all addresses is reached at each of this machine's.
        host == ours || (ours.is_unspecified() && (host.is_loopback() || host.is_unspecified()))
    };
    let same_host = match base_url.host() {
        Some(Host::Domain(name)) => {
            let localhost = name.trim_end_matches('.').eq_ignore_ascii_case("localhost");
            localhost && (ours.is_loopback() || ours.is_unspecified())
        }
        Some(Host::Ipv4(host)) => reached(host.into()),
        Some(Host::Ipv6(host)) => reached(host.into()),
        None => false,
    };
    same_host && base_url.port_or_known_default() == Some(listener.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loops(base_url: &str, listener: &str) -> bool {
        is_at(&base_url.parse().unwrap(), listener.parse().unwrap())
    }

    #[test]
    fn a_base_url_on_an_address_of_ours_is_a_loop() {
        for (base_url, listener) in [
            ("http://127.0.0.1:8645/v1", "127.0.0.1:8645"),
            ("http://localhost:8645", "127.0.0.1:8645"),
            ("http://LOCALHOST.:8645", "127.0.0.1:8645"),
            ("http://localhost:8645", "[::1]:8645"),
            ("http://[::1]:8645/x", "[::1]:8645"),
            ("http://[::ffff:127.0.0.1]:8645", "127.0.0.1:8645"),
            ("http://127.0.0.7:8645", "0.0.0.0:8645"),
            ("http://[::1]:8645", "[::]:8645"),
            ("http://localhost", "127.0.0.1:80"),
            ("https://192.168.1.7", "192.168.1.7:443"),
        ] {
            assert!(loops(base_url, listener), "{base_url} {listener}");
        }
    }

    #[test]
    fn a_neighbour_is_none() {
        for (base_url, listener) in [
            ("http://127.0.0.1:8646/v1", "127.0.0.1:8645"),
            ("http://127.0.0.2:8645/v1", "127.0.0.1:8645"),
            ("http://[::1]:8645", "127.0.0.1:8645"),
            ("https://localhost.example:8645", "127.0.0.1:8645"),
            ("https://192.168.1.7", "127.0.0.1:443"),
            ("http://127.0.0.1:8645", "127.0.0.1:0"),
        ] {
            assert!(!loops(base_url, listener), "{base_url} {listener}");
        }
    }
}
