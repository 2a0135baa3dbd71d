//! `pipehost man`.

use std::io;

use crate::error::{Error, print};

/// One page: the program's, followed by those of its verbs.
pub fn man(mut program: clap::Command) -> Result<u8, Error> {
    program.build();
    let mut page = Vec::new();
    (clap_mangen::Man::new(program.clone()).render(&mut page))
        .and_then(|()| verbs(&program, "PIPEHOST", &mut page))
        .expect("a vector takes all");
    print(&page)
}

/// The sections of a command's verbs, and of their verbs.
fn verbs(command: &clap::Command, name: &str, page: &mut Vec<u8>) -> io::Result<()> {
    for verb in command.get_subcommands().filter(|verb| verb.get_name() != "help") {
        let name = format!("{name} {}", verb.get_name().to_uppercase());
        let man = clap_mangen::Man::new(verb.clone());
        page.extend_from_slice(format!(".SH \"{name}\"\n").as_bytes());
        man.render_synopsis_section(page)?;
        man.render_description_section(page)?;
        man.render_options_section(page)?;
        verbs(verb, &name, page)?;
    }
    Ok(())
}
