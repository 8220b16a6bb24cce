//! `cloudhub ca`: the authority that signs the hub's and the nodes' certificates.

use api::cli::{CliError, Console, Format, OutputArgs, describe};
use api::shapes::Time;
use clap::Subcommand;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use x509_parser::time::ASN1Time;

use super::hub::Place;

#[derive(Debug, Subcommand)]
pub(super) enum CaVerb {
    /// Show the CA's certificate: validity, and the SHA-256 that join tokens hold
    Show {
        #[command(flatten)]
        output: OutputArgs,
    },
}

impl CaVerb {
    /// Reads the certificate from its file: no running hub is needed.
    pub(super) fn run(self, place: &Place, console: &mut Console<'_>) -> Result<(), CliError> {
        let CaVerb::Show { output } = self;
        let pem = place.read(&place.ca)?;
        let mut facts = facts(&pem).map_err(|reason| CliError::Failed(format!("{} {reason}", place.ca.display())))?;
        facts["file"] = place.ca.display().to_string().into();
        match output.format {
            Format::Json => console.line(&facts.to_string()),
            Format::Table => console.raw(describe(&facts, &[]).as_bytes()),
        }
    }
}

fn facts(pem: &str) -> Result<Value, String> {
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|error| format!("is not a PEM certificate: {error}"))?;
    let (_, certificate) = x509_parser::parse_x509_certificate(&der).map_err(|error| format!("is not a certificate: {error}"))?;
    let validity = certificate.validity();
    Ok(json!({
        "subject": certificate.subject().to_string(),
        "not_before": time(&validity.not_before)?,
        "not_after": time(&validity.not_after)?,
        "sha256": Sha256::digest(&der).iter().map(|byte| format!("{byte:02x}")).collect::<String>(),
    }))
}

fn time(time: &ASN1Time) -> Result<String, String> {
    let seconds = u64::try_from(time.timestamp()).map_err(|_| "has a date before 1970".to_owned())?;
    Ok(Time(seconds.saturating_mul(1000)).to_string())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn shows_what_a_token_holds() {
        let made = rcgen::generate_simple_self_signed(["hub".to_owned()]).unwrap();
        let facts = facts(&made.cert.pem()).unwrap();
        assert_eq!(facts["sha256"].as_str().unwrap().len(), 64);
        assert!(facts["not_after"].as_str().unwrap().ends_with("Z"));
        assert!(super::facts("nothing").is_err());
    }
}
