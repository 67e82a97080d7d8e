//! What a template can do, as answers.

/// What a template makes of the parts of a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "independent answers, named as the reference names them")]
pub struct Capabilities {
    /// Content that is a string arrives in the prompt.
    pub string_content: bool,
    /// Content that is a list of parts (`{"type": "text", "text": ...}`) arrives in the prompt, as text.
    pub typed_content: bool,
    /// A message of the role `system` arrives in the prompt.
    pub system_role: bool,
    /// Descriptions of tools arrive in the prompt.
    pub tools: bool,
    /// Calls of tools in an assistant's message arrive in the prompt.
    pub tool_calls: bool,
    /// More than one call in a message arrives.
    pub parallel_tool_calls: bool,
    /// The arguments of a call are to be an object and not its JSON text.
    pub object_arguments: bool,
    /// The reasoning of earlier turns arrives in the prompt.
    pub preserve_reasoning: bool,
    /// `enable_thinking` changes the prompt.
    pub thinking: bool,
}
