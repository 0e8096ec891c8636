"""stub"""
from __future__ import annotations
from typing import Any
from flowevents.errors import Conflict
from flowevents.events import encode
from flowevents.journal.records import Record
class Lease:
    def __init__(self, journal: Any, run_id: str) -> None:
        self.journal=journal; self.run_id=run_id; self.waiting=[]; self.losses=0
        self.log=journal.logs[run_id]; self.seq=len(self.log); journal.owner[run_id]=self
    def listen(self, on_message, on_lost): self.on_message=on_message; self.on_lost=on_lost
    def _put(self, e, k):
        assert e.seq==self.seq+1,(e,self.seq)
        self.log.append(Record(e.seq, encode(e), k)); self.seq=e.seq
        if self.journal.cut is not None and self.seq>=self.journal.cut: raise SystemExit(99)
    def append(self, *entries, taken=None):
        if self.journal.owner.get(self.run_id) is not self: raise Conflict("another")
        self.flush()
        for e,k in entries: self._put(e,k)
        if taken is not None: self.journal.box[self.run_id].remove(taken)
        e=entries[-1][0]
    def later(self, e): self.waiting.append(e)
    def flush(self):
        w,self.waiting=self.waiting,[]
        for e in w: self._put(e,None)
    def pause(self): self.flush(); self.journal.owner[self.run_id]=None; return self.inbox()
    def take_again(self):
        if self.journal.owner[self.run_id] is not None or len(self.log)!=self.seq: raise Conflict("taken")
        self.journal.owner[self.run_id]=self
    def inbox(self): return list(self.journal.box.setdefault(self.run_id,[]))
    def drop(self,m): self.journal.box[self.run_id].remove(m)
    def release(self, lost=False):
        if self.journal.owner.get(self.run_id) is self:
            self.flush(); self.journal.owner[self.run_id]=None
