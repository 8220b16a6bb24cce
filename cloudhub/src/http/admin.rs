//! What administrators do: definitions here, nodes, tokens and joins in files of their own.

use std::collections::BTreeMap;

use api::hub::{CloudAdmin, Origin, PageToken};
use api::problem::Problem;
use api::shapes::{AppliedCollection, JoinToken, JoinTokenRequest, NewJoinToken, Node, NodeEvent, Resync, Verification};
use proto::definition::Definition;
use proto::ids::DatabaseId;
use proto::json::Value;
use proto::names::{CollectionName, NodeName};
use transport::join::{JoinRequest, JoinResponse, RenewRequest};

use super::{CloudHub, by, unexpected};
use crate::store::{Answer, Job, Refused};

impl CloudHub {
    async fn apply(&self, name: &CollectionName, definition: &Value, dry_run: bool, origin: &Origin) -> Result<AppliedCollection, Problem> {
        let definition = Definition::parse(&definition.to_text()).map_err(|error| self.problem(Refused::from(error).into()))?;
        let applied = if dry_run {
            let asked = name.clone();
            let tried = self.read(move |store| store.try_definition(&asked, &definition)).await?;
            tried.map_err(|refused| self.problem(refused.into()))?
        } else {
            match self.job(Job::PutCollection { name: name.clone(), definition: Box::new(definition) }).await? {
                Answer::Applied(applied) => applied,
                other => return Err(unexpected(&other)),
            }
        };
        if !dry_run && (applied.created || applied.changed) {
            tracing::info!(collection = %name, by = by(origin), created = applied.created, selects = applied.selects, "collection applied");
        }
        let (created, changed, selects, nodes) = (applied.created, applied.changed, applied.selects, applied.nodes);
        Ok(AppliedCollection { name: name.to_string(), created, changed, selects, nodes })
    }
}

impl CloudAdmin for CloudHub {
    async fn nodes(&self, after: Option<PageToken>, limit: usize) -> Result<(Vec<Node>, Option<PageToken>), Problem> {
        self.list_nodes(after, limit).await
    }

    async fn node(&self, name: &NodeName) -> Result<Node, Problem> {
        self.one_node(name).await
    }

    async fn node_events(&self, name: &NodeName) -> Result<Vec<NodeEvent>, Problem> {
        self.events(name).await
    }

    async fn label_node(&self, name: &NodeName, labels: BTreeMap<String, Option<String>>, origin: Origin) -> Result<Node, Problem> {
        self.job(Job::Label { node: name.clone(), labels }).await?;
        tracing::info!(node = %name, by = by(&origin), "labels changed");
        self.one_node(name).await
    }

    async fn revoke_node(&self, name: &NodeName, origin: Origin) -> Result<Node, Problem> {
        self.revoke(name, &origin).await
    }

    async fn accept_database(&self, name: &NodeName, database: DatabaseId, origin: Origin) -> Result<Node, Problem> {
        self.accept(name, database, &origin).await
    }

    async fn verify_node(&self, name: &NodeName, collection: Option<CollectionName>, origin: Origin) -> Result<Verification, Problem> {
        self.verify(name, collection.as_ref(), &origin).await
    }

    async fn resync_node(&self, name: &NodeName, collection: Option<CollectionName>, origin: Origin) -> Result<Resync, Problem> {
        self.resync(name, collection, &origin).await
    }

    async fn delete_node(&self, name: &NodeName, origin: Origin) -> Result<(), Problem> {
        self.delete(name, &origin).await
    }

    async fn join_tokens(&self) -> Result<Vec<JoinToken>, Problem> {
        self.list_join_tokens().await
    }

    async fn create_join_token(&self, request: JoinTokenRequest, origin: Origin) -> Result<NewJoinToken, Problem> {
        self.new_join_token(request, &origin).await
    }

    async fn revoke_join_token(&self, id: &str, origin: Origin) -> Result<(), Problem> {
        self.job(Job::RevokeJoinToken { id: id.to_owned() }).await?;
        tracing::info!(token = id, by = by(&origin), "join token revoked");
        Ok(())
    }

    async fn put_collection(
        &self,
        name: &CollectionName,
        definition: Value,
        dry_run: bool,
        origin: Origin,
    ) -> Result<AppliedCollection, Problem> {
        self.apply(name, &definition, dry_run, &origin).await
    }

    async fn delete_collection(&self, name: &CollectionName, origin: Origin) -> Result<(), Problem> {
        self.job(Job::DeleteCollection { name: name.clone() }).await?;
        tracing::info!(collection = %name, by = by(&origin), "collection deleted");
        Ok(())
    }

    async fn join(&self, request: JoinRequest) -> Result<JoinResponse, Problem> {
        self.take_in(request).await
    }

    async fn renew(&self, request: RenewRequest) -> Result<JoinResponse, Problem> {
        self.renew_certificate(request).await
    }
}
