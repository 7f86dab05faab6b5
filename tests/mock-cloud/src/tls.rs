//! The cloud's certificate authority, and its servers' certificates.

use std::path::Path;
use std::sync::Arc;
use std::{fs, io};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::TlsAcceptor;

/// Whether and how a server speaks TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Tls {
    /// Plain HTTP.
    #[default]
    Off,
    /// A valid certificate for `localhost`, 127.0.0.1, `provider.test` and `portal.test`.
    On,
    /// A certificate that expired years ago.
    Expired,
    /// A certificate for another name.
    WrongName,
}

/// The authority that signs the servers' certificates.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").finish_non_exhaustive()
    }
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params
            .distinguished_name
            .push(DnType::CommonName, "mock-cloud test authority");
        let key = KeyPair::generate().expect("a key can be made");
        let pem = params.self_signed(&key).expect("the CA is valid").pem();
        Self {
            issuer: Issuer::new(params, key),
            pem,
        }
    }

    pub(crate) fn pem(&self) -> &str {
        &self.pem
    }

    pub(crate) fn write(&self, path: &Path) -> io::Result<()> {
        fs::write(path, &self.pem)
    }

    /// `None` when the server is to speak plain HTTP.
    pub(crate) fn acceptor(&self, tls: Tls, http2: bool) -> Option<TlsAcceptor> {
        let names: &[&str] = match tls {
            Tls::Off => return None,
            Tls::On | Tls::Expired => &["localhost", "127.0.0.1", "provider.test", "portal.test"],
            Tls::WrongName => &["elsewhere.invalid"],
        };
        Some(self.sign(names, tls == Tls::Expired, protocols(http2)))
    }

    /// TLS with a valid certificate for these names, for a server of a test's own.
    pub fn acceptor_for(&self, names: &[&str], http2: bool) -> TlsAcceptor {
        self.sign(names, false, protocols(http2))
    }

    /// The same with these protocols for ALPN, the preferred one first.
    pub fn acceptor_speaking(&self, names: &[&str], protocols: &[&str]) -> TlsAcceptor {
        self.sign(names, false, protocols)
    }

    fn sign(&self, names: &[&str], expired: bool, protocols: &[&str]) -> TlsAcceptor {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("the names are valid");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        if expired {
            params.not_before = date_time_ymd(2020, 1, 1);
            params.not_after = date_time_ymd(2021, 1, 1);
        }
        let key = KeyPair::generate().expect("a key can be made");
        let leaf = params
            .signed_by(&key, &self.issuer)
            .expect("the leaf is valid");
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let mut config =
            ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
                .with_safe_default_protocol_versions()
                .expect("the provider has protocol versions")
                .with_no_client_auth()
                .with_single_cert(vec![leaf.der().clone()], key)
                .expect("key and certificate fit");
        let protocols = protocols.iter();
        config.alpn_protocols = protocols.map(|one| one.as_bytes().to_vec()).collect();
        TlsAcceptor::from(Arc::new(config))
    }
}

fn protocols(http2: bool) -> &'static [&'static str] {
    if http2 {
        &["h2", "http/1.1"]
    } else {
        &["http/1.1"]
    }
}
