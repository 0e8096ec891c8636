"""What users write: PocketFlow's nodes, and streaming ones."""

from flowevents.nodes.async_node import AsyncBatchNode, AsyncNode, AsyncParallelBatchNode
from flowevents.nodes.node import BaseNode, BatchNode, Node
from flowevents.nodes.stream import AsyncStreamNode, StreamNode

__all__ = [
    "AsyncBatchNode",
    "AsyncNode",
    "AsyncParallelBatchNode",
    "AsyncStreamNode",
    "BaseNode",
    "BatchNode",
    "Node",
    "StreamNode",
]
