//! How machines become nodes, and stay them: joining with a token, renewing with the old key.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use api::problem::{Code, Problem};
use api::shapes::Time;
use proto::names::NodeName;
use transport::join::{JoinRequest, JoinResponse, RenewRequest};
use transport::token::{Secret, SecretHash};

use super::{CloudHub, unexpected};
use crate::clock::since_1970;
use crate::limits::JOIN_ANSWERS;
use crate::pki::{IssueError, Issued};
use crate::store::{Answer, Certificate, Job, JoinJob, Refused, TokenRefused};

/// Answers to joins of this process's life. A machine whose answer was lost asks again with the same token and the same
/// key, and gets it again although the token is used up.
#[derive(Debug, Default)]
pub struct JoinAnswers(Mutex<VecDeque<Joined>>);

#[derive(Debug, Clone)]
struct Joined {
    secret: SecretHash,
    key_sha256: [u8; 32],
    node: NodeName,
    answer: JoinResponse,
}

impl JoinAnswers {
    fn lock(&self) -> MutexGuard<'_, VecDeque<Joined>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether anybody joined with this token.
    fn any_of(&self, secret: &SecretHash) -> bool {
        self.lock().iter().any(|joined| joined.secret == *secret)
    }

    fn of(&self, secret: &SecretHash, key_sha256: &[u8; 32]) -> Option<Joined> {
        self.lock().iter().find(|joined| joined.secret == *secret && joined.key_sha256 == *key_sha256).cloned()
    }

    fn remember(&self, joined: Joined) {
        let mut answers = self.lock();
        if answers.len() >= JOIN_ANSWERS {
            answers.pop_front();
        }
        answers.push_back(joined);
    }

    fn forget(&self, node: &NodeName) {
        self.lock().retain(|joined| joined.node != *node);
    }
}

impl CloudHub {
    pub(super) async fn take_in(&self, request: JoinRequest) -> Result<JoinResponse, Problem> {
        let secret = Secret::parse(&request.secret).map_err(|error| Problem::new(Code::Unauthorized, error.to_string()))?.hash();
        let asked = request.node.as_deref().map(NodeName::parse).transpose();
        let asked = asked.map_err(|error| Problem::bad_request(error.to_string()).field("node"))?;
        if let Some(answer) = self.lost_answer(&secret, &request)? {
            return Ok(answer);
        }
        let node = self.permitted(secret, asked).await?;
        let issued = self.pki.issue(&node, &request.csr, self.clock.system()).map_err(of_issue)?;
        // A machine of this name is replaced: what it shows is no longer good, now and after a restore.
        let before = self.serials(&node).await?;
        let job = JoinJob { secret_hash: secret.0, node: Some(node.clone()), certificate: certificate(&issued) };
        let Answer::Joined { node, .. } = (match self.job(Job::Join(Box::new(job))).await? {
            joined @ Answer::Joined { .. } => joined,
            other => return Err(unexpected(&other)),
        }) else {
            return Err(Problem::internal("a join without a node"));
        };
        self.joins.forget(&node);
        if !before.is_empty() {
            self.revoke_serials(&node, before).await?;
            self.registry.end(&node, "replaced", "another machine joined under this name");
        }
        tracing::info!(%node, version = request.version, "node joined");
        let (key_sha256, answer) = (issued.key_sha256, self.answer(&node, issued));
        self.joins.remember(Joined { secret, key_sha256, node, answer: answer.clone() });
        Ok(answer)
    }

    /// Under which name the token lets a machine in. One that is bound to a name decides, whatever the machine would like.
    async fn permitted(&self, secret: SecretHash, asked: Option<NodeName>) -> Result<NodeName, Problem> {
        let now_ms = self.clock.wall_ms();
        let permitted = self
            .read(move |store| match store.may_join(&secret.0, asked.as_ref(), now_ms)? {
                Err(Refused::Token(TokenRefused::OtherNode)) => store.may_join(&secret.0, None, now_ms),
                judged => Ok(judged),
            })
            .await?;
        permitted.map_err(|refused| self.problem(refused.into()))
    }

    /// The answer that a machine asks for again, proved by the token's secret and the key.
    fn lost_answer(&self, secret: &SecretHash, request: &JoinRequest) -> Result<Option<JoinResponse>, Problem> {
        if !self.joins.any_of(secret) {
            return Ok(None);
        }
        let key = self.pki.key_of(&request.csr).map_err(of_issue)?;
        Ok(self.joins.of(secret, &key).map(|joined| {
            let time = Time(self.clock.wall_ms()).to_string();
            JoinResponse { time, ..joined.answer }
        }))
    }

    pub(super) async fn renew_certificate(&self, request: RenewRequest) -> Result<JoinResponse, Problem> {
        let shown = self.pki.check_renewal(&request).map_err(of_issue)?;
        let asked = shown.name.clone();
        let row = self.read(move |store| store.node(&asked)).await?;
        if row.is_none_or(|row| row.revoked) {
            let detail = format!("{} is not a node of this hub any more; join it with a new token", shown.name);
            return Err(Problem::new(Code::Unauthorized, detail));
        }
        let issued = self.pki.issue(&shown.name, &request.csr, self.clock.system()).map_err(of_issue)?;
        self.job(Job::Certificate { node: shown.name.clone(), certificate: certificate(&issued) }).await?;
        tracing::info!(node = %shown.name, "certificate renewed");
        Ok(self.answer(&shown.name, issued))
    }

    fn answer(&self, node: &NodeName, issued: Issued) -> JoinResponse {
        JoinResponse {
            node: node.to_string(),
            certificate: issued.certificate,
            ca: self.pki.ca_pem().to_owned(),
            servers: self.servers.clone(),
            time: Time(self.clock.wall_ms()).to_string(),
        }
    }
}

fn certificate(issued: &Issued) -> Certificate {
    Certificate { serial: issued.serial.to_string(), not_after_ms: since_1970(issued.not_after) }
}

fn of_issue(error: IssueError) -> Problem {
    match error {
        IssueError::BadCsr(_) => Problem::bad_request(error.to_string()).field("csr"),
        IssueError::NotOurs(_) | IssueError::Revoked(_) => Problem::new(Code::Unauthorized, error.to_string()),
        IssueError::Sign(_) => Problem::internal(error),
    }
}
