//! The TLS of every connection to a provider: rustls with the system's trust store, and the
//! configuration's additional CA file.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls_platform_verifier::Verifier;

/// What every connection to a provider is made with.
pub type Tls = ClientConfig;

/// A trust store that can't be built.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The CA file can't be read or holds no certificate.
    #[error("the CA file {file} can't be used ({reason}); correct `ca_file` in the configuration")]
    CaFile {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// rustls refused the result.
    #[error("TLS can't be set up")]
    Rustls(#[from] rustls::Error),
}

/// A client configuration without ALPN; the caller adds the protocols that it speaks.
///
/// A machine without any trusted certificate (a bare container) gets one that trusts nothing, so
/// that plain-text upstreams on loopback still work; the first TLS connection then says why.
///
/// # Errors
/// When `ca_file` can't be used.
pub fn client_config(ca_file: Option<&Path>) -> Result<ClientConfig, TlsError> {
    let crypto = Arc::new(aws_lc_rs::default_provider());
    let extra = match ca_file {
        Some(file) => certificates(file)?,
        None => Vec::new(),
    };
    let builder = ClientConfig::builder_with_provider(crypto.clone())
        .with_safe_default_protocol_versions()?;
    let config = match verifier(extra, &crypto) {
        Ok(verifier) => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth(),
        Err(error) => {
            tracing::warn!(%error, "no trusted certificates: install ca-certificates");
            builder
                .with_root_certificates(rustls::RootCertStore::empty())
                .with_no_client_auth()
        }
    };
    Ok(config)
}

fn verifier(
    extra: Vec<CertificateDer<'static>>,
    crypto: &Arc<CryptoProvider>,
) -> Result<Verifier, rustls::Error> {
    if extra.is_empty() {
        Verifier::new(crypto.clone())
    } else {
        Verifier::new_with_extra_roots(extra, crypto.clone())
    }
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let fault = |reason: String| TlsError::CaFile {
        file: file.to_owned(),
        reason,
    };
    let certificates = CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| fault(error.to_string()))?;
    if certificates.is_empty() {
        return Err(fault("it contains no PEM certificate".to_owned()));
    }
    Ok(certificates)
}
