//! A certificate, taken apart as far as the project reads it.
//!
//! Who signed it and for what it is good is judged by rustls, before anything is decided by what stands here. The parser that is
//! used for the parts would read every extension that exists, and carry the code for it to every node.

use x509_parser::asn1_rs::{Any, Class, Tag};
use x509_parser::oid_registry::OID_X509_EXT_SUBJECT_ALT_NAME;
use x509_parser::prelude::{FromDer, GeneralName, SubjectAlternativeName, Validity, X509Error, X509Name};

/// The context-specific fields of a certificate that are looked for.
const VERSION: Tag = Tag(0);
const EXTENSIONS: Tag = Tag(3);

/// What is read of a certificate (RFC 5280, section 4.1).
#[derive(Debug, PartialEq)]
pub(crate) struct Certificate<'a> {
    /// Big-endian, as it stands there.
    pub(crate) serial: &'a [u8],
    pub(crate) issuer: X509Name<'a>,
    pub(crate) validity: Validity,
    /// DER (SubjectPublicKeyInfo).
    pub(crate) public_key: &'a [u8],
    /// Subject alternative names; empty where it has none.
    pub(crate) names: Vec<GeneralName<'a>>,
}

impl<'a> Certificate<'a> {
    /// Reads DER.
    pub(crate) fn read(der: &'a [u8]) -> Result<Self, X509Error> {
        let (_, whole) = element(der, Tag::Sequence)?;
        let (_, fields) = element(whole, Tag::Sequence)?;
        let fields = skip(fields, Class::ContextSpecific, VERSION)?;
        let (fields, serial) = element(fields, Tag::Integer)?;
        let (fields, _signed_with) = element(fields, Tag::Sequence)?;
        let (fields, issuer) = X509Name::from_der(fields)?;
        let (fields, validity) = Validity::from_der(fields)?;
        let (fields, _subject) = element(fields, Tag::Sequence)?;
        let (rest, _) = element(fields, Tag::Sequence)?;
        let public_key = &fields[..fields.len() - rest.len()];
        Ok(Self { serial, issuer, validity, public_key, names: names(rest)? })
    }
}

/// The alternative names among the fields behind the public key.
fn names(mut fields: &[u8]) -> Result<Vec<GeneralName<'_>>, X509Error> {
    let mut found = None;
    while !fields.is_empty() {
        let (rest, field) = Any::from_der(fields)?;
        fields = rest;
        if !is(&field, Class::ContextSpecific, EXTENSIONS) {
            continue;
        }
        let (_, mut extensions) = element(field.data, Tag::Sequence)?;
        while !extensions.is_empty() {
            let (rest, extension) = element(extensions, Tag::Sequence)?;
            extensions = rest;
            let (value, kind) = element(extension, Tag::Oid)?;
            if kind != OID_X509_EXT_SUBJECT_ALT_NAME.as_bytes() {
                continue;
            }
            let (_, value) = element(skip(value, Class::Universal, Tag::Boolean)?, Tag::OctetString)?;
            let (_, names) = SubjectAlternativeName::from_der(value)?;
            if found.replace(names.general_names).is_some() {
                return Err(X509Error::DuplicateExtensions);
            }
        }
    }
    Ok(found.unwrap_or_default())
}

/// What stands behind the first element, and its value; an error where it is not a `tag`.
fn element(from: &[u8], tag: Tag) -> Result<(&[u8], &[u8]), X509Error> {
    let (rest, found) = Any::from_der(from)?;
    if is(&found, Class::Universal, tag) { Ok((rest, found.data)) } else { Err(X509Error::InvalidCertificate) }
}

/// What stands behind the first element where that is an optional one which is there.
fn skip(from: &[u8], class: Class, tag: Tag) -> Result<&[u8], X509Error> {
    let (rest, found) = Any::from_der(from)?;
    Ok(if is(&found, class, tag) { rest } else { from })
}

fn is(found: &Any<'_>, class: Class, tag: Tag) -> bool {
    found.header.class() == class && found.header.tag() == tag
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;
    use rcgen::{CertificateParams, DnType, IsCa, KeyPair, SanType, SerialNumber};
    use x509_parser::prelude::X509Certificate;

    use super::*;

    fn made(names: &[String], uris: &[String], ca: bool) -> Vec<u8> {
        let mut params = CertificateParams::new(names.to_vec()).unwrap();
        params.subject_alt_names.extend(uris.iter().map(|uri| SanType::URI(uri.as_str().try_into().unwrap())));
        params.serial_number = Some(SerialNumber::from_slice(&[0, 0x81, 7]));
        params.distinguished_name.push(DnType::OrganizationName, "Example");
        params.is_ca = if ca { IsCa::Ca(rcgen::BasicConstraints::Unconstrained) } else { IsCa::ExplicitNoCa };
        params.use_authority_key_identifier_extension = true;
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    /// What the parser of whole certificates reads.
    fn whole(der: &[u8]) -> Option<(X509Certificate<'_>, Vec<GeneralName<'_>>)> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let names = certificate.subject_alternative_name().ok()?.map(|found| found.value.general_names.clone());
        Some((certificate, names.unwrap_or_default()))
    }

    fn agree(der: &[u8]) {
        if let (Ok(ours), Some((theirs, names))) = (Certificate::read(der), whole(der)) {
            assert_eq!(ours.serial, theirs.raw_serial());
            assert_eq!(&ours.issuer, theirs.issuer());
            assert_eq!(&ours.validity, theirs.validity());
            // Theirs ends where the key does, ours where its element does; in what an authority signs that is one.
            assert!(ours.public_key.starts_with(theirs.public_key().raw));
            // Theirs takes extensions also under a tag of another class, which is no certificate's: ours finds no names then.
            assert!(ours.names == names || ours.names.is_empty(), "{:?} {names:?}", ours.names);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(8))]

        /// The same is read as by the parser of whole certificates, and whatever bit is wrong, it is no panic.
        #[test]
        fn it_reads_what_the_whole_parser_reads(
            names in prop::collection::vec("[a-z]{1,9}(\\.[a-z]{1,9}){0,2}|10\\.[0-9]\\.[0-9]\\.[1-9]", 0..4),
            uris in prop::collection::vec("urn:tombolo:node:[a-z]{0,9}", 0..3),
            ca: bool,
        ) {
            let der = made(&names, &uris, ca);
            let (ours, (theirs, found)) = (Certificate::read(&der).unwrap(), whole(&der).unwrap());
            prop_assert_eq!(ours.public_key, theirs.public_key().raw);
            prop_assert_eq!(ours.names, found);
            agree(&der);
            for place in 0..der.len() {
                for bit in 0..8 {
                    let mut changed = der.clone();
                    changed[place] ^= 1 << bit;
                    agree(&changed);
                }
                prop_assert!(Certificate::read(&der[..place]).is_err());
            }
        }
    }

    #[test]
    fn names_that_stand_there_twice_are_refused() {
        let der = made(&["hub.example".to_owned()], &[], false);
        let extension = {
            let oid = OID_X509_EXT_SUBJECT_ALT_NAME;
            let at = der.windows(3).position(|window| window == oid.as_bytes()).unwrap() - 4;
            let (rest, _) = Any::from_der(&der[at..]).unwrap();
            der[at..der.len() - rest.len()].to_vec()
        };
        let twice: Vec<u8> = [&extension[..], &extension[..]].concat();
        let list = [&[0x30, u8::try_from(twice.len()).unwrap()], &twice[..]].concat();
        let field = [&[0xa3, u8::try_from(list.len()).unwrap()], &list[..]].concat();
        assert_eq!(names(&field), Err(X509Error::DuplicateExtensions));
        let list = [&[0x30, u8::try_from(extension.len()).unwrap()], &extension[..]].concat();
        let field = [&[0xa3, u8::try_from(list.len()).unwrap()], &list[..]].concat();
        assert_eq!(names(&field).unwrap(), [GeneralName::DNSName("hub.example")]);
    }
}
