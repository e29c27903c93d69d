//! Servers with certificates.

use crate::Wrap;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use std::io;
use std::sync::Arc;

/// A server's certificate, and the authority that has signed it.
pub struct Tls {
    /// The authority's certificate, in PEM form.
    pub authority: String,
    /// Puts the server's end on a connection.
    pub wrap: Wrap,
}

impl Tls {
    /// A certificate for this name from an authority of its own.
    ///
    /// # Errors
    ///
    /// When the name cannot be one, or no key can be made.
    pub fn new(name: &str) -> io::Result<Self> {
        Self::made(name).map_err(io::Error::other)
    }

    fn made(name: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        let key = KeyPair::generate()?;
        let certificate = CertificateParams::new([name.to_owned()])?.signed_by(&key, &issuer)?;
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let config = Arc::new(config.with_no_client_auth().with_single_cert(vec![certificate.der().clone()], key)?);
        let wrap: Wrap = Box::new(move |stream| {
            let connection = ServerConnection::new(Arc::clone(&config)).map_err(io::Error::other)?;
            Ok(Box::new(StreamOwned::new(connection, stream)))
        });
        Ok(Self { authority: issuer.pem(), wrap })
    }
}
