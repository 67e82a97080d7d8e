//! chat: rendering a conversation.

use criterion::{Criterion, criterion_group, criterion_main};
use quipu_chat::{ChatTemplate, Message};

fn render(c: &mut Criterion) {
    let template = ChatTemplate::default_chatml();
    let messages: Vec<Message> = (0..20)
        .map(|i| Message::new(if i % 2 == 0 { "user" } else { "assistant" }, "What is a quipu?"))
        .collect();
    c.bench_function("chat/render 20 messages", |b| {
        b.iter(|| template.render(&messages, true).expect("a valid template"));
    });
}

criterion_group!(benches, render);
criterion_main!(benches);
