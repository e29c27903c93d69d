//! Whom TLS connections trust: the authorities of a file, or else those of the system. What is not signed by one of them, or is for
//! another name, is refused; that cannot be switched off.

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use std::io;
use std::path::Path;

/// The certificates of the authorities to trust.
///
/// # Errors
///
/// When the file cannot be read or holds no certificate, or the system has none.
pub fn authorities(file: Option<&Path>) -> io::Result<Vec<CertificateDer<'static>>> {
    let none = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let Some(path) = file else {
        let found = rustls_native_certs::load_native_certs();
        for error in &found.errors {
            tracing::warn!("certificates of the system: {error}");
        }
        return match found.certs.is_empty() {
            true => Err(none("the system has no certificates of authorities: name a ca_file")),
            false => Ok(found.certs),
        };
    };
    let bytes =
        std::fs::read(path).map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let certificates = certificates.map_err(|error| none(&format!("{}: {error}", path.display())))?;
    if certificates.is_empty() {
        return Err(none(&format!("{}: it holds no certificate in PEM form", path.display())));
    }
    Ok(certificates)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_certificates_is_an_error_that_names_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        assert!(authorities(Some(&path)).unwrap_err().to_string().contains("ca.pem"));
        for text in ["", "hello", "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n"] {
            std::fs::write(&path, text).unwrap();
            assert!(authorities(Some(&path)).unwrap_err().to_string().contains("ca.pem"), "{text}");
        }
    }
}
