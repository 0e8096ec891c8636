"""stub"""
from __future__ import annotations
from typing import Any
from flowevents.errors import *
from flowevents.events import decode
from flowevents.journal.lease import Lease
from flowevents.journal.records import Message
class Journal:
    cut=None
    def __init__(self): self.logs={}; self.owner={}; self.box={}; self.n=0
    def begin(self, run_id, flow, metadata):
        if run_id in self.logs: raise RunStateError(f"The journal has run {run_id!r} already.")
        self.logs[run_id]=[]
        return Lease(self,run_id)
    def take(self, run_id, take_over=False):
        if run_id not in self.logs: raise UnknownRun(run_id)
        return Lease(self,run_id)
    def records(self, run_id, after=0):
        return iter(self.logs[run_id][after:])
    def read(self, run_id, after=0): return (decode(r.event) for r in self.records(run_id,after))
    def reply(self, run_id, value, id=None):
        self.n+=1; self.box.setdefault(run_id,[]).append(Message(str(self.n),"reply",id,value))
