//! What a stage declares when it opens: columns to read, ports to write.

/// A column of byte strings that the stage reads: the key, the value or an
/// attribute. Only [`Setup`] makes one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field(pub(crate) usize);

/// The timestamps of the records. Only [`Setup`] makes one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Time(pub(crate) ());

/// An output port. Only [`Setup`] makes one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Port(pub(crate) usize);

impl Field {
    pub(crate) const KEY: Self = Self(0);
    pub(crate) const VALUE: Self = Self(1);
    pub(crate) const FIRST_ATTRIBUTE: usize = 2;
}

/// An input that the stage tells from the others. Only [`Setup`] makes one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InputId(pub(crate) u32);

/// What a stage keeps from one record to the next, as the contract's `keeps`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keeps {
    /// Anything: one instance gets every record.
    Anything,
    /// Nothing: any number of instances share the records.
    Nothing,
    /// What belongs to one value of this column.
    ByKey(Field),
}

/// What `process` reads and where it writes, as the contract's `plan`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Whether it reads the timestamps of the records.
    pub timestamps: bool,
    /// Whether it reads the key.
    pub key: bool,
    /// Whether it reads the value.
    pub value: bool,
    /// The attributes that it reads.
    pub attributes: Vec<String>,
    /// Its ports; the first is the default one.
    pub ports: Vec<String>,
    /// The inputs that it tells apart; none, if it does not.
    pub inputs: Vec<String>,
    /// What it keeps between calls.
    pub keeps: Keeps,
}

/// Handed to [`Stage::open`](crate::Stage::open) to declare what the stage reads
/// and which ports it has.
#[derive(Debug)]
pub struct Setup {
    pub(crate) plan: Plan,
}

impl Setup {
    pub(crate) fn new() -> Self {
        Self {
            plan: Plan {
                timestamps: false,
                key: false,
                value: false,
                attributes: Vec::new(),
                ports: vec!["out".to_owned()],
                inputs: Vec::new(),
                keeps: Keeps::Anything,
            },
        }
    }

    /// Reads the key.
    pub fn key(&mut self) -> Field {
        self.plan.key = true;
        Field::KEY
    }

    /// Reads the value.
    pub fn value(&mut self) -> Field {
        self.plan.value = true;
        Field::VALUE
    }

    /// Reads the attribute of this name, which a record may have or not.
    pub fn attribute(&mut self, name: &str) -> Field {
        Field(Field::FIRST_ATTRIBUTE + position_or_push(&mut self.plan.attributes, name))
    }

    /// Reads the attribute of this name; without one, the key.
    pub fn attribute_or_key(&mut self, name: Option<&str>) -> Field {
        match name {
            Some(name) => self.attribute(name),
            None => self.key(),
        }
    }

    /// Reads the timestamps of the records.
    pub fn timestamp(&mut self) -> Time {
        self.plan.timestamps = true;
        Time(())
    }

    /// Declares one more input that the stage tells apart: the pipeline must then give the stage as
    /// many inputs as are declared, in this order.
    pub fn input(&mut self, name: &str) -> InputId {
        InputId(position_or_push(&mut self.plan.inputs, name) as u32)
    }

    /// Declares that the stage keeps nothing from one record to the next: what it does with a
    /// record depends on this record alone. The host then runs it on as many cores as it has.
    pub fn keeps_nothing(&mut self) {
        self.plan.keeps = Keeps::Nothing;
    }

    /// Declares that what the stage keeps belongs to one value of this column: what it does with
    /// a record depends on no record with another value. The host can then divide the records
    /// among several instances. A limit that counts keys is then one of each instance.
    pub fn keeps_by_key(&mut self, key: Field) {
        self.plan.keeps = Keeps::ByKey(key);
    }

    /// Adds a port beside the default one.
    pub fn port(&mut self, name: &str) -> Port {
        Port(position_or_push(&mut self.plan.ports, name))
    }

    /// Gives the default port, `out`, another name: for stages in which it means
    /// something special.
    pub fn rename_default_port(&mut self, name: &str) {
        self.plan.ports[0] = name.to_owned();
    }
}

fn position_or_push(names: &mut Vec<String>, name: &str) -> usize {
    names.iter().position(|n| n == name).unwrap_or_else(|| {
        names.push(name.to_owned());
        names.len() - 1
    })
}
