"""What users write: PocketFlow's nodes, streaming ones, and those that ask."""

from flowevents.nodes.ask import AskNode, AsyncAskNode
from flowevents.nodes.async_node import AsyncBatchNode, AsyncNode, AsyncParallelBatchNode
from flowevents.nodes.node import BaseNode, BatchNode, Node
from flowevents.nodes.stream import AsyncStreamNode, StreamNode

__all__ = [
    "AskNode",
    "AsyncAskNode",
    "AsyncBatchNode",
    "AsyncNode",
    "AsyncParallelBatchNode",
    "AsyncStreamNode",
    "BaseNode",
    "BatchNode",
    "Node",
    "StreamNode",
]
