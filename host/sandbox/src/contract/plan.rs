//! What a stage declares when it is opened, and the columns that it is given of a batch.

use super::violation::{Violation, violation};
use std::collections::HashSet;
use std::sync::Arc;

use crate::contract::bindings::records;
use pipehost_config::Partition;
use pipehost_record::check_name;
use pipehost_record::{Batch, Column, MAX_ATTRIBUTES, MAX_NAME, Selected, Times};

/// What a stage keeps from one call to the next.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Keeps {
    #[default]
    Anything,
    Nothing,
    /// What belongs to one value of this column.
    ByKey(Partition),
}

/// What a stage reads and keeps, and its ports.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    pub timestamps: bool,
    pub key: bool,
    pub value: bool,
    pub attributes: Vec<String>,
    /// At least one; the first is the default.
    pub ports: Vec<String>,
    /// Names of the inputs, if the stage tells them apart.
    pub inputs: Vec<String>,
    pub keeps: Keeps,
}

impl Plan {
    /// # Errors
    /// If it breaks a rule of the contract; the error says which.
    pub fn check(&self) -> Result<(), Violation> {
        if self.ports.is_empty() {
            return Err(violation!("its plan has no port"));
        }
        let lists = [&self.attributes, &self.ports, &self.inputs];
        if lists.iter().any(|list| list.len() > MAX_ATTRIBUTES) {
            return Err(violation!(
                "its plan has more than {MAX_ATTRIBUTES} attributes, ports or inputs"
            ));
        }
        let valid = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
        let mut seen = HashSet::new();
        for port in &self.ports {
            if port.is_empty() || !port.chars().all(valid) {
                return Err(violation!("{port:?} is not a name for a port: use a-z, 0-9, - and _"));
            }
            if !seen.insert(port) {
                return Err(violation!("its plan names the port {port:?} twice"));
            }
        }
        let mut seen = HashSet::new();
        for name in &self.attributes {
            check_name(name).map_err(|why| violation!("in its plan, {why:#}"))?;
            if !seen.insert(name) {
                return Err(violation!("its plan names the attribute {name:?} twice"));
            }
        }
        if let Keeps::ByKey(Partition::Attribute(name)) = &self.keeps {
            check_name(name).map_err(|why| violation!("in its plan, {why:#}"))?;
        }
        if let Some(long) = self.ports.iter().chain(&self.inputs).find(|n| n.len() > MAX_NAME) {
            let length = long.len();
            return Err(violation!(
                "in its plan, a port or an input has a name of {length} bytes, and it may have \
                 {MAX_NAME}"
            ));
        }
        Ok(())
    }
}

/// The columns that the plan names, each contiguous.
#[derive(Debug, Default)]
pub struct Given {
    pub timestamps: Option<Arc<Times>>,
    pub key: Option<Arc<Column>>,
    pub value: Option<Arc<Column>>,
    /// In the order of the plan.
    pub attributes: Vec<Option<Arc<Column>>>,
}

/// The attributes of these names; `None` for one that the batch lacks. For many names, a map is
/// faster than a search.
fn given_attributes(names: &[String], batch: &Batch) -> Vec<Option<Arc<Column>>> {
    const FEW: usize = 16;
    let places = (names.len() > FEW).then(|| batch.places());
    let column = |name: &String| match &places {
        Some(places) => places.get(&**name).map(|&at| &batch.attributes[at].1),
        None => batch.attribute(name),
    };
    names.iter().map(|name| column(name).map(Selected::contiguous)).collect()
}

impl Given {
    /// Copies only columns that are not contiguous.
    pub fn new(plan: &Plan, batch: &Batch) -> Self {
        let contiguous = |wanted: bool, column: &Option<Selected<Column>>| {
            column.as_ref().filter(|_| wanted).map(Selected::contiguous)
        };
        let timestamps = batch.timestamps.as_ref().filter(|_| plan.timestamps);
        Self {
            timestamps: timestamps.map(Selected::contiguous),
            key: contiguous(plan.key, &batch.key),
            value: contiguous(plan.value, &batch.value),
            attributes: given_attributes(&plan.attributes, batch),
        }
    }

    /// Bytes of the contents of the given columns.
    pub fn bytes(&self) -> usize {
        let columns = self.key.iter().chain(&self.value);
        columns.chain(self.attributes.iter().flatten()).map(|column| column.data.len()).sum()
    }

    /// A given column, if the batch has it.
    pub fn column(&self, which: records::Given) -> Option<&Arc<Column>> {
        match which {
            records::Given::Key => self.key.as_ref(),
            records::Given::Value => self.value.as_ref(),
            records::Given::Attribute(index) => self.attributes.get(index as usize)?.as_ref(),
        }
    }
}
