//! The devices of this node as the event bus knows them: read once, forgotten when something about them changes.

use std::collections::BTreeMap;
use std::sync::Arc;

use devicetwin::outgoing::Member;
use metamanager::{Metamanager, ReadError};
use proto::device::{DEVICES, Device, DeviceId, MODELS, Model, Twin};
use proto::names::{CollectionName, Key};

/// A declared device with its kind.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) id: DeviceId,
    pub(super) key: Key,
    pub(super) model: Arc<Model>,
}

/// Those that were asked for lately, and their models: one for all devices of it.
#[derive(Debug, Default)]
pub(super) struct Members {
    devices: BTreeMap<Key, Arc<Known>>,
    models: BTreeMap<Key, Arc<Model>>,
}

impl Members {
    /// A device; none: not declared here, or with a model that is not here.
    pub(super) fn find(&mut self, store: &Metamanager, id: &DeviceId) -> Result<Option<Arc<Known>>, ReadError> {
        let Some(key) = id.key() else { return Ok(None) };
        if let Some(known) = self.devices.get(&key) {
            return Ok(Some(Arc::clone(known)));
        }
        let Some(model) = model_of(store, &key)? else { return Ok(None) };
        let Some(model) = self.model(store, model)? else { return Ok(None) };
        let known = Arc::new(Known { id: id.clone(), key: key.clone(), model });
        self.devices.insert(key, Arc::clone(&known));
        Ok(Some(known))
    }

    fn model(&mut self, store: &Metamanager, name: Key) -> Result<Option<Arc<Model>>, ReadError> {
        if let Some(model) = self.models.get(&name) {
            return Ok(Some(Arc::clone(model)));
        }
        let Some(model) = record(store, MODELS, &name)?.and_then(|text| Model::parse(&text).ok()) else { return Ok(None) };
        let model = Arc::new(model);
        self.models.insert(name, Arc::clone(&model));
        Ok(Some(model))
    }

    /// What was declared of a device is not what it was.
    pub(super) fn forget(&mut self, key: &Key) {
        self.devices.remove(key);
    }

    /// A model is not what it was.
    pub(super) fn forget_all(&mut self) {
        self.devices.clear();
        self.models.clear();
    }
}

fn record(store: &Metamanager, collection: &str, key: &Key) -> Result<Option<String>, ReadError> {
    let Ok(name) = CollectionName::parse(collection) else { return Ok(None) };
    match store.get(&name, key) {
        Ok(row) => Ok(row.map(|row| row.value)),
        // The cloud is older than devices, or has not said anything yet.
        Err(ReadError::UnknownCollection(_) | ReadError::NotSynced) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The model that a declared device names.
fn model_of(store: &Metamanager, device: &Key) -> Result<Option<Key>, ReadError> {
    let declared = record(store, DEVICES, device)?.and_then(|text| Device::parse(&text).ok());
    Ok(declared.and_then(|device| Key::parse(&device.model).ok()))
}

/// A device's twin as readers see it.
pub(super) fn twin(store: &Metamanager, key: &Key) -> Result<Option<Twin>, ReadError> {
    match store.read(|reader| reader.twin(key)) {
        Err(ReadError::UnknownCollection(_) | ReadError::NotSynced) => Ok(None),
        read => read,
    }
}

/// All devices of this node, in the order of their ids.
pub(super) fn all(store: &Metamanager) -> Result<Vec<(DeviceId, Key, Device)>, ReadError> {
    let Ok(name) = CollectionName::parse(DEVICES) else { return Ok(Vec::new()) };
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let stretch = match store.read(|reader| reader.stretch(&name, after.as_ref())) {
            Err(ReadError::UnknownCollection(_) | ReadError::NotSynced) => return Ok(all),
            stretch => stretch?,
        };
        for row in stretch.records {
            if let (Ok(id), Ok(device)) = (DeviceId::parse(row.key.as_str()), Device::parse(&row.value)) {
                all.push((id, row.key, device));
            }
        }
        match stretch.next {
            Some(next) => after = Some(next),
            None => return Ok(all),
        }
    }
}

/// A device as membership messages have it.
pub(super) fn member(store: &Metamanager, id: &DeviceId, key: &Key, device: &Device) -> Result<Member, ReadError> {
    let twin = twin(store, key)?.unwrap_or_default();
    Ok(Member::of(id, device, &twin))
}

/// The devices of this node, with what they said of themselves last.
pub(super) fn members(store: &Metamanager) -> Result<Vec<Member>, ReadError> {
    all(store)?.iter().map(|(id, key, device)| member(store, id, key, device)).collect()
}
