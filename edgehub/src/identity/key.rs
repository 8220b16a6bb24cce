//! This machine's key, P-256, and what it signs besides TLS: a request for a certificate (RFC 2986).
//!
//! The request says nothing but the public key, so all of it that varies is the key and the signature: the rest stands here as
//! it is encoded, and no library that can write every certificate has to be on every node. Tests read it with one.

use data_encoding::BASE64;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject;

/// A P-256 public key (RFC 5480) up to its point, which has 65 bytes.
const PUBLIC_KEY: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01,
    0x07, 0x03, 0x42, 0x00,
];
/// Version 0 and an empty name: the hub decides what the certificate says.
const NAMELESS: [u8; 5] = [0x02, 0x01, 0x00, 0x30, 0x00];
/// No attributes.
const NO_ATTRIBUTES: [u8; 2] = [0xa0, 0x00];
/// Signed with ECDSA over SHA-256.
const SIGNED_WITH: [u8; 12] = [0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];
const SEQUENCE: u8 = 0x30;
const BIT_STRING: u8 = 0x03;
/// Letters in a line of PEM.
const LINE: usize = 64;

/// A key that cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The system gave no random numbers.
    #[error("the system gives no random numbers")]
    Random,
    /// Not a PKCS#8 key in PEM form.
    #[error("no PKCS#8 key in PEM form is in it")]
    Text,
    /// Another kind of key, or a damaged one.
    #[error("it is no whole P-256 key")]
    Kind,
}

/// The private key with its public half.
pub(super) struct Key {
    pkcs8: Vec<u8>,
    pair: EcdsaKeyPair,
}

impl Key {
    pub(super) fn generate() -> Result<Self, KeyError> {
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &SystemRandom::new());
        Self::from_pkcs8(pkcs8.map_err(|_| KeyError::Random)?.as_ref())
    }

    pub(super) fn from_pem(text: &str) -> Result<Self, KeyError> {
        let der = PrivatePkcs8KeyDer::from_pem_slice(text.as_bytes()).map_err(|_| KeyError::Text)?;
        Self::from_pkcs8(der.secret_pkcs8_der())
    }

    fn from_pkcs8(pkcs8: &[u8]) -> Result<Self, KeyError> {
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, pkcs8, &SystemRandom::new());
        Ok(Self { pkcs8: pkcs8.to_vec(), pair: pair.map_err(|_| KeyError::Kind)? })
    }

    pub(super) fn to_pem(&self) -> String {
        pem("PRIVATE KEY", &self.pkcs8)
    }

    /// DER (SubjectPublicKeyInfo).
    pub(super) fn public_key(&self) -> Vec<u8> {
        [&PUBLIC_KEY[..], self.pair.public_key().as_ref()].concat()
    }

    /// A request for a certificate, PEM.
    pub(super) fn request(&self) -> Result<String, KeyError> {
        let asked = der(SEQUENCE, &[&NAMELESS[..], &self.public_key(), &NO_ATTRIBUTES].concat());
        let signature = self.pair.sign(&SystemRandom::new(), &asked).map_err(|_| KeyError::Random)?;
        // A string of bits says first how many of its last byte are not used.
        let signature = der(BIT_STRING, &[&[0], signature.as_ref()].concat());
        Ok(pem("CERTIFICATE REQUEST", &der(SEQUENCE, &[&asked[..], &SIGNED_WITH, &signature].concat())))
    }
}

/// One DER element of at most 255 bytes: a request has 190.
fn der(tag: u8, value: &[u8]) -> Vec<u8> {
    let length = u8::try_from(value.len()).expect("a request is short");
    let head: &[u8] = if length < 0x80 { &[tag, length] } else { &[tag, 0x81, length] };
    [head, value].concat()
}

fn pem(what: &str, der: &[u8]) -> String {
    let text = BASE64.encode(der);
    let mut out = format!("-----BEGIN {what}-----\n");
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(LINE));
        out.push_str(line);
        out.push('\n');
        rest = after;
    }
    out + &format!("-----END {what}-----\n")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use rcgen::{CertificateSigningRequestParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, PublicKeyData};
    use ring::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};

    use super::*;

    #[test]
    fn a_request_is_what_a_library_reads() {
        for _ in 0..20 {
            let key = Key::generate().unwrap();
            let request = key.request().unwrap();
            let read = CertificateSigningRequestParams::from_pem(&request).unwrap();
            assert_eq!(read.public_key.algorithm(), &PKCS_ECDSA_P256_SHA256);
            assert_eq!(read.public_key.der_bytes(), key.pair.public_key().as_ref());
            assert!(read.params.subject_alt_names.is_empty() && read.params.distinguished_name.iter().next().is_none());
            assert_eq!(request.lines().map(str::len).max(), Some(LINE));
        }
    }

    /// The library above does not look at the signature; a hub may.
    #[test]
    fn a_request_is_signed() {
        let key = Key::generate().unwrap();
        let asked = der(SEQUENCE, &[&NAMELESS[..], &key.public_key(), &NO_ATTRIBUTES].concat());
        let lines: String = key.request().unwrap().lines().filter(|line| !line.starts_with('-')).collect();
        let whole = BASE64.decode(lines.as_bytes()).unwrap();
        let at = whole.windows(asked.len()).position(|window| window == asked).unwrap();
        let signature = &whole[at + asked.len() + SIGNED_WITH.len() + 3..];
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, key.pair.public_key()).verify(&asked, signature).unwrap();
    }

    /// Keys that earlier versions made, with a library: the same text.
    #[test]
    fn keys_are_kept_as_they_were() {
        let theirs = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let ours = Key::from_pem(&theirs.serialize_pem()).unwrap();
        assert_eq!(ours.public_key(), theirs.subject_public_key_info());
        assert_eq!(ours.to_pem(), theirs.serialize_pem());
        assert_eq!(Key::from_pem("nothing").err(), Some(KeyError::Text));
        assert_eq!(Key::from_pem(&KeyPair::generate_for(&PKCS_ED25519).unwrap().serialize_pem()).err(), Some(KeyError::Kind));
    }
}
